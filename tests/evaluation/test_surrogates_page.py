"""The page's example runs."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "surrogates.md"


def test_the_example_on_the_page_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(example, names)
    wide, plain = (names["told"].interval(0.95, bias=bias) for bias in (names["told"].worst_bias, 0.0))
    assert wide[0] < plain[0] < plain[1] < wide[1]
    assert "consistent" in capsys.readouterr().out
