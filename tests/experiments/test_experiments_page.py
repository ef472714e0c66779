"""The page's examples run."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"


def test_the_examples_on_the_page_run(capsys):
    past, following = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(past, names)
    found = names["weights"]
    assert (abs(found.weights - [0.6, 0.3]) < 3 * found.se).all()
    assert "JIVE" in capsys.readouterr().out
    pytest.importorskip("spotify_confidence", exc_type=ImportError)
    exec(following, names)
    assert "Plan(users=" in capsys.readouterr().out
