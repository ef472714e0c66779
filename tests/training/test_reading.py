"""The log of a run is read and checked once, and found again while the run lasts."""

import os

import numpy as np
import pytest
from polars.testing import assert_frame_equal

import reward
from benchmarks.kill_and_resume import small_log
from reward.data.validation import check
from reward.training.folder import CACHE, RunFolder
from reward.training.identity import source_stamp
from reward.training.reading import read_log
from tests.training.test_fit import END, QUICK

SPLIT = {"train_days": 12, "validation_days": 4}


@pytest.fixture
def checks(monkeypatch):
    """Who checked a log, one name a time."""
    found = []

    def counted(place):
        def counting(log, **asked):
            found.append(place)
            return check(log, **asked)

        return counting

    for place in ("reward.training.reading.check", "reward.scoring.requests.check"):
        monkeypatch.setattr(place, counted(place))
    return found


@pytest.fixture
def source(tmp_path):
    """The settings of a log in a file."""
    small_log().write_parquet(tmp_path / "events.parquet")
    return {
        "_target_": "reward.data.parquet.read",
        "events": str(tmp_path / "events.parquet"),
        "feedback": ["click"],
        "session_gap_minutes": 30,
        "max_rejected_share": 0.0,
    }


@pytest.fixture
def folder(tmp_path):
    claimed = RunFolder.claim(tmp_path / "run", or_next=False)
    claimed.identify("", "", {})
    yield claimed
    claimed.release()


def test_a_whole_run_checks_its_log_once_and_leaves_no_cache(checks, tmp_path):
    log = reward.read_log(small_log(), feedback="click", context=["surface"], end=END)
    reward.fit(log, settings=QUICK, folder=tmp_path / "run", silent=True)
    assert len(checks) == 1
    assert (tmp_path / "run/metrics.json").is_file()
    assert not (tmp_path / "run" / CACHE).exists()


def test_a_run_that_goes_on_reads_no_source(checks, tmp_path):
    log = reward.read_log(small_log(), feedback="click", context=["surface"], end=END)
    reward.fit(log, settings=QUICK, folder=tmp_path / "run", evaluate=False, silent=True)
    assert len(checks) == 1
    reward.fit(folder=tmp_path / "run", resume=True, silent=True)
    assert len(checks) == 1
    assert (tmp_path / "run/metrics.json").is_file()
    assert not (tmp_path / "run" / CACHE).exists()


def test_what_is_kept_is_what_was_read(source, folder, checks):
    first, again = (read_log(source, SPLIT, folder, None) for _ in range(2))
    assert len(checks) == 1
    assert again.checked is None
    assert (first.window, first.origin) == (again.window, again.origin)
    assert_frame_equal(first.prepared.log.events.collect(), again.prepared.log.events.collect())
    assert_frame_equal(first.prepared.log.events.collect(), first.checked.log.events.collect())
    assert isinstance(first.prepared.codes.item, np.memmap)


def _rewritten(source):
    small_log(seed=1).write_parquet(source["events"])


def _touched(source):
    os.utime(source["events"], (1, 1))


def _set(source):
    source["session_gap_minutes"] = 45


@pytest.mark.parametrize("change", [_rewritten, _touched, _set])
def test_a_source_that_may_have_changed_is_read_again(source, folder, checks, change):
    read_log(source, SPLIT, folder, None)
    change(source)
    assert read_log(source, SPLIT, folder, None).checked is not None
    assert len(checks) == 2


def test_a_folder_in_which_nothing_ran_keeps_nothing(source, tmp_path):
    claimed = RunFolder.claim(tmp_path / "other", or_next=False)
    read_log(source, SPLIT, claimed, None)
    assert (tmp_path / "other" / CACHE).is_dir()
    claimed.release()
    assert not (tmp_path / "other").exists()


def test_a_run_that_ended_before_it_wrote_anything_is_read_anew(source, tmp_path):
    """A process that was killed may have kept its log, and not written the rows that were set aside."""
    claimed = RunFolder.claim(tmp_path / "other", or_next=False)
    assert all(read_log(source, SPLIT, claimed, None).checked is not None for _ in range(2))
    claimed.release()


def test_a_log_that_cannot_be_kept_stays_in_memory(source, folder, capsys):
    (folder.path / CACHE).write_text("a file where the cache should be")
    found = read_log(source, SPLIT, folder, None)
    assert len(found.prepared) == small_log().height
    assert "cannot be kept" in " ".join(capsys.readouterr().out.split())


def test_what_else_is_in_the_cache_stays(source, tmp_path):
    theirs = tmp_path / "other" / CACHE / "theirs"
    theirs.mkdir(parents=True)
    claimed = RunFolder.claim(tmp_path / "other", or_next=False)
    read_log(source, SPLIT, claimed, None)
    assert len(list((tmp_path / "other" / CACHE).iterdir())) == 2
    claimed.release()
    assert list((tmp_path / "other" / CACHE).iterdir()) == [theirs]


@pytest.mark.parametrize(
    "elsewhere", [{"_target_": "theirs.read"}, {"events": "s3://bucket/log"}, {"outcomes": {"renewal": "gs://b/r"}}]
)
def test_of_some_sources_nothing_tells_whether_they_changed(source, elsewhere):
    assert source_stamp(source) is not None
    assert source_stamp(source | elsewhere) is None
