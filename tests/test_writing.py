import json
import os

import pytest

from reward.writing import whole, write_json


def test_a_file_appears_when_its_block_ends_well(tmp_path):
    path = tmp_path / "new" / "folder" / "table.txt"
    with whole(path) as scratch:
        assert scratch.parent == path.parent
        scratch.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("old")

    def write_half():
        with whole(path) as scratch:
            scratch.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_values_are_written_as_json_that_is_read_back(tmp_path):
    values = {"mean": 0.1, "name": "café", "rows": [1, None]}
    write_json(tmp_path / "metrics.json", values)
    text = (tmp_path / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text) == values
    assert "café" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"loss": value})
    assert list(tmp_path.iterdir()) == []
