"""The example of the guide runs, and finds what it was made with."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "off_policy.md"


def test_the_example_on_the_page_runs(capsys):
    found = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(blocks[-1], found)  # those before read a run
    choice = found["choice"]
    assert choice.estimate.value == pytest.approx(3.6, abs=0.15)  # 4 · .7 + (3 + 3 + 2) · .1
    assert set(choice.squared_error) == set(found["candidates"])
    assert "Estimate(value=0." in capsys.readouterr().out  # 3.6 − 3 better
