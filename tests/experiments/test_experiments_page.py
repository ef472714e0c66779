"""The examples of the page on A/B tests run, and find what they were made with."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "ab_tests.md"


def test_the_examples_on_the_page_run(capsys):
    past, following, early, many = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(past, names)
    found = names["weights"]
    assert (abs(found.weights - [0.6, 0.3]) < 3 * found.se).all()
    assert "JIVE" in capsys.readouterr().out
    exec(early, names)
    told = names["told"]
    wide, plain = (told.interval(0.95, bias=bias) for bias in (told.worst_bias, 0.0))
    assert wide[0] < plain[0] < plain[1] < wide[1]
    assert "consistent" in capsys.readouterr().out
    exec(many, names)
    assert ((names["shrunk"].mean - names["true"]) ** 2).mean() < 0.5 * (names["errors"] ** 2).mean()
    capsys.readouterr()
    pytest.importorskip("spotify_confidence", exc_type=ImportError)
    exec(following, names)
    assert "Plan(users=" in capsys.readouterr().out
