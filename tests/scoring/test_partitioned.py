import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reward.data.event_log import SchemaError
from reward.scoring import partitioned
from reward.scoring.artifact import save
from reward.scoring.composite import Composite
from reward.scoring.function import RewardFunction
from reward.scoring.partitioned import score_parquet
from reward.scoring.prediction import SCORES

NOW = datetime(2024, 4, 3, 9, 30, tzinfo=UTC)
CLOSE = {"abs_tol": 1e-5, "rel_tol": 1e-5}  # single precision, padded otherwise


@pytest.fixture(scope="module")
def events(log):
    return log.events.filter(pl.col("user_id") < 12).collect().sample(fraction=1, shuffle=True, seed=0)


@pytest.fixture
def fn(network_of, features, outcome):
    own = replace(features)  # whose share of flawed rows tests change
    return RewardFunction(network_of(), own, {"active_days": outcome}, max_events=64, timestamp_unit=None, facts={})


@pytest.fixture
def score(fn, tmp_path, monkeypatch):
    """Score a frame in parts; what was written and what was said of it."""
    monkeypatch.setattr(partitioned, "_LEAST_GROUP_ROWS", 16)

    def run(frame, rows_at_once, function=fn, **more):
        frame.write_parquet(tmp_path / "events.parquet", row_group_size=50)
        found = score_parquet(
            function, tmp_path / "events.parquet", tmp_path / "scored.parquet", rows_at_once=rows_at_once, **more
        )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["events.parquet", "scored.parquet"]
        return pl.read_parquet(tmp_path / "scored.parquet"), found

    return run


@pytest.mark.parametrize("rows_at_once", [7, 40, 100, 10_000])
@pytest.mark.parametrize("order", ["shuffled", "by user", "by time"])
def test_scores_in_parts_are_those_of_the_whole_log_in_its_order(score, fn, events, order, rows_at_once):
    frame = events if order == "shuffled" else events.sort(f"{order[3:]}_id" if order == "by user" else "timestamp")
    frame = pl.concat([frame, frame[:9]])  # repeated rows too
    scored, found = score(frame, rows_at_once)
    assert_frame_equal(scored, fn.score_events(frame), **CLOSE)
    assert_frame_equal(scored.select(frame.columns), frame)
    assert_frame_equal(scored[-9:].select(SCORES), scored[:9].select(SCORES))
    assert found == (frame.height, frame["user_id"].n_unique(), fn.unknown_items(frame["item_id"]))


def test_what_else_is_asked_for_is_told_in_parts_too(score, fn, events):
    scored, _ = score(events, 50, as_of=NOW)
    assert_frame_equal(scored, fn.score_events(events, as_of=NOW), **CLOSE)
    assert 0 < scored["value_as_of"].null_count() < events.height


def test_one_user_with_most_of_the_rows_is_one_part(score, fn, events, monkeypatch):
    heights = []
    scores = RewardFunction.scores

    def counted(self, frame, **settings):
        heights.append(frame.height)
        return scores(self, frame, **settings)

    monkeypatch.setattr(RewardFunction, "scores", counted)
    most = pl.when(pl.int_range(pl.len()) % 5 > 0).then(0).otherwise(pl.col("user_id"))
    frame = events.with_columns(user_id=most)
    scored, _ = score(frame, 20)
    assert max(heights) >= (frame["user_id"] == 0).sum()
    assert sum(heights) == frame.height
    assert_frame_equal(scored, fn.score_events(frame), **CLOSE)


def test_columns_with_the_names_of_scores_and_of_places_stay_as_they_came(score, fn, events):
    frame = events.with_columns(reward=pl.lit("mine"), row=pl.int_range(pl.len()), part=pl.lit("a"))
    scored, _ = score(frame, 60)
    assert_frame_equal(scored, fn.score_events(frame), **CLOSE)
    assert scored.columns[-2] == "scored_reward"


def with_flaws(events, rows):
    """Rows that training would set aside, all of one user."""
    flawed = pl.int_range(pl.len()).is_in(rows)
    return events.sort("user_id").with_columns(click=pl.when(flawed).then(-1.0).otherwise(pl.col("click")))


def test_rows_that_are_set_aside_are_judged_on_the_whole_log(score, fn, events):
    frame = with_flaws(events, range(4))
    share = 4 / frame.height
    object.__setattr__(fn.features, "max_rejected_share", 1.01 * share)
    with pytest.warns(UserWarning, match=f"4 of {frame.height} events cannot be scored: 4 row") as said:
        scored, _ = score(frame, 20)
    assert len(said) == 1
    assert scored["reward"].is_null().to_list() == [True] * 4 + [False] * (frame.height - 4)
    object.__setattr__(fn.features, "max_rejected_share", 0.99 * share)
    with pytest.raises(SchemaError, match=f"4 of {frame.height} events cannot be scored"):
        score(frame, 20)


def test_a_failure_leaves_nothing_and_the_old_result(fn, events, tmp_path):
    object.__setattr__(fn.features, "max_rejected_share", 0.0)
    with_flaws(events, [5]).write_parquet(tmp_path / "events.parquet")
    (tmp_path / "scored.parquet").write_text("old")
    with pytest.raises(SchemaError, match=r"1 of .* events cannot be scored"):
        score_parquet(fn, tmp_path / "events.parquet", tmp_path / "scored.parquet", rows_at_once=30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.parquet", "scored.parquet"]
    assert (tmp_path / "scored.parquet").read_text() == "old"


def test_what_a_killed_run_left_beside_the_result_goes(score, events, tmp_path):
    left = tmp_path / ".scored.parquet-0123abcd.partial"
    left.mkdir()
    (left / "rows-000000").write_bytes(b"half")
    score(events, 50)
    assert not left.exists()


def test_what_cannot_be_asked_for_is_refused_before_the_log_is_read(score, fn, events):
    with pytest.raises(ValueError, match="nothing"):
        score(events, 50, tasks=["nothing"])
    with pytest.raises(ValueError, match="rows_at_once must be at least 1, got 0"):
        score(events, 0)
    with pytest.raises(ValueError, match="a composite expected no tasks, habit or as_of"):
        score(events, 50, Composite({"click": 1.0}, "points"), as_of=NOW)


def test_a_composite_is_scored_in_parts(score, fn, events):
    both = Composite({"click": 0.5, "days": 2.0}, "points", functions={"days": fn})
    assert_frame_equal(score(events, 50, both)[0], both.score_events(events), **CLOSE)
    alone = Composite({"click": 0.5}, "points")
    frame = events.drop("user_id")
    scored, found = score(frame, 50, alone)
    assert_frame_equal(scored, alone.score_events(frame), **CLOSE)
    assert found.rows == frame.height


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical])
def test_users_are_told_apart_by_their_names_in_every_slice(score, fn, events, dtype):
    names = pl.format("user {}", pl.col("user_id")).cast(dtype)
    frame = events.with_columns(user_id=names)
    assert_frame_equal(score(frame, 15)[0], fn.score_events(frame), **CLOSE)


def test_progress_is_told_by_part(score, events):
    seen = []

    def progress(parts):
        for part in parts:
            seen.append(part)
            yield part

    score(events, 50, progress=progress)
    np.testing.assert_array_equal(seen, np.arange(-(-events.height // 50)))


def test_a_log_without_rows_is_written_with_empty_scores(score, events):
    scored, found = score(events[:0], 50)
    assert scored.columns == [*events.columns, *SCORES]
    assert found == (0, 0, 0)


def test_memory_that_is_freed_goes_back_after_each_batch_and_each_part(score, events, monkeypatch):
    seen = []
    monkeypatch.setattr(partitioned, "_trim", lambda: seen.append)
    monkeypatch.setattr("reward.scoring.readout.BATCH_ROWS", 1)  # a batch is one window, and each user has at least one
    score(events, 100)
    assert len(seen) >= events["user_id"].n_unique() + events.height // 100
    assert set(seen) == {0}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' C libraries need no such call")
def test_the_c_library_is_asked_for_what_it_has():
    assert partitioned._trim()(0) in (None, 0, 1)


PEAKS = """
import sys
from pathlib import Path

import reward
from reward.scoring.partitioned import score_parquet

fn = reward.load("artifact")
for name in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    score_parquet(fn, name, "scored.parquet", rows_at_once=2_000)
    told = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    print(int(told["VmHWM"].split()[0]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux tells it")
def test_memory_does_not_grow_with_the_log(fn, log, tmp_path):
    """Peaks in MiB of scoring logs in one process: a first one for what is loaded and made once, then 2 x and 8 x."""
    save(fn, tmp_path / "artifact")
    events, rows = log.events.collect(), 16_000
    copies = range(8 * rows // events.height + 1)
    many = pl.concat(events.with_columns(pl.col("user_id") + 1000 * copy) for copy in copies)
    sizes = {"first": rows, "twice": 2 * rows, "eight": 8 * rows}
    for name, size in sizes.items():
        many[:size].write_parquet(tmp_path / name, row_group_size=10_000)
    paths = os.environ | {"PYTHONPATH": str(Path(partitioned.__file__).parents[2])}
    command = [sys.executable, "-c", PEAKS, *sizes]
    done = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True, check=True)
    _, twice, eight = map(float, done.stdout.split())
    assert eight < twice + 40  # scored at once it is some 200 more
