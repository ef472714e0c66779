"""The table of goals says what the results say."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def goals(benchmark):
    return benchmark("goals")


def test_the_page_has_the_table_of_the_results(goals):
    page = (ROOT / "docs" / "research" / "results.md").read_text(encoding="utf-8")
    assert goals.BEGIN + goals.markdown(ROOT / "benchmarks" / "results") + goals.END in page


def test_what_is_missed_is_told_with_its_goal_and_the_page_keeps_the_rest(goals, tmp_path, capsys):
    row = {"what": "all", "metric": "C-index", "ours": 0.71234, "se": None, "peers": {}, "goal": ">= 0.8", "met": False}
    rows = [row, row | {"met": True}, row | {"goal": None, "met": None}]
    (tmp_path / "a.json").write_text(json.dumps({"rows": rows}))
    (tmp_path / "b.json").write_text(json.dumps({"rows": rows[2:]}))
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n{goals.BEGIN}old\n{goals.END}after\n")
    goals.main(["--results", str(tmp_path), "--page", str(page)])
    found = page.read_text()
    assert "| `a.py` | 2 | 1 |\n" in found
    assert "- `a.py`, all, C-index: 0.7123 (goal: >= 0.8)\n" in found
    assert "b.py" not in found
    assert found.startswith("# Before\n")
    assert found.endswith("after\n")
    page.write_text("no place for it")
    with pytest.raises(SystemExit, match="expected the lines"):
        goals.main(["--results", str(tmp_path), "--page", str(page)])
