import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reward import writing
from reward.writing import recover, whole, whole_folder, write_json


def test_a_file_appears_when_its_block_ends_well(tmp_path):
    path = tmp_path / "new" / "folder" / "table.txt"
    with whole(path) as scratch:
        assert scratch.parent == path.parent
        scratch.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


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


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def folder_of(path, **files):
    with whole_folder(path) as fresh:
        for name, text in files.items():
            (fresh / name).write_text(text)


def test_a_folder_takes_the_place_of_another_at_once(tmp_path):
    place = tmp_path / "new" / "made"
    folder_of(place, one="1", two="2")
    folder_of(place, one="3")
    assert {path.name: path.read_text() for path in place.iterdir()} == {"one": "3"}
    assert list(place.parent.iterdir()) == [place]


def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        folder_of(tmp_path / "made", one="1")
        write_json(tmp_path / "values.json", {})
        folder_of(tmp_path / "made", one="2")
    finally:
        os.umask(before)
    modes = [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("made", "made/one", "values.json")]
    assert modes == ["0o750", "0o640", "0o640"]


def test_a_link_to_a_folder_leads_to_the_new_one(tmp_path):
    folder_of(tmp_path / "disk" / "made", one="1")
    (tmp_path / "made").symlink_to(tmp_path / "disk" / "made")
    folder_of(tmp_path / "made", one="2")
    assert (tmp_path / "made").is_symlink()
    assert (tmp_path / "disk" / "made" / "one").read_text() == "2"


def test_without_an_exchange_a_folder_is_replaced_in_two_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_exchange", lambda one, other: False)
    folder_of(tmp_path / "made", one="1")
    folder_of(tmp_path / "made", one="2")
    assert (tmp_path / "made" / "one").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    rename = Path.rename

    def fail(path, target):
        if path.suffix == ".partial" and not Path(target).exists():
            raise OSError("the disk went away")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="the disk went away"):
        folder_of(tmp_path / "made", one="3")
    assert (tmp_path / "made" / "one").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


KILLED = """
import os, signal, sys
from pathlib import Path
from reward import writing

place, how = Path(sys.argv[1]), sys.argv[2]
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if how == "file":
    with writing.whole(place) as scratch:
        scratch.write_text("half")
        kill()
with writing.whole_folder(place) as fresh:
    (fresh / "one").write_text("2")
    if how == "before":
        kill()
    if how == "between":
        writing._exchange = lambda one, other: False
        rename = Path.rename
        Path.rename = lambda path, target: (rename(path, target), target.suffix == ".old" and kill())
    if how == "after":
        writing._remove = kill
"""


@pytest.mark.parametrize(
    ("how", "left", "found"),
    [("file", 1, "1"), ("before", 1, "1"), ("between", 2, "1"), ("after", 1, "2")],
)
def test_what_a_killed_writer_leaves_is_made_good(tmp_path, how, left, found):
    place = tmp_path / "made"
    if how == "file":
        place.write_text("1")
    else:
        folder_of(place, one="1")
    done = subprocess.run([sys.executable, "-c", KILLED, str(place), how], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".made-*"))) == left
    recover(place)
    assert list(tmp_path.iterdir()) == [place]
    assert (place if how == "file" else place / "one").read_text() == found


def test_what_a_living_writer_holds_is_left_alone_and_so_is_what_is_no_writers(tmp_path):
    stranger = tmp_path / ".made-of-wood.txt"
    stranger.write_text("mine")
    with whole_folder(tmp_path / "made") as fresh:
        recover(tmp_path / "made")
        folder_of(tmp_path / "made", one="2")
        assert fresh.is_dir()
        (fresh / "one").write_text("1")
    assert (tmp_path / "made" / "one").read_text() == "1"  # who ends last
    assert sorted(path.name for path in tmp_path.iterdir()) == [".made-of-wood.txt", "made"]
    assert stranger.read_text() == "mine"


def test_a_reader_finds_one_whole_folder_at_any_moment(tmp_path):
    place = tmp_path / "made"
    folder_of(place, one="0", two="0")
    stop = threading.Event()

    def write():
        for number in range(10_000):
            if stop.is_set():
                return
            folder_of(place, one=str(number), two=str(number))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)  # there is always one
            os.close(handle)
    finally:
        stop.set()
        writer.join()
