"""Random frames, most of them not as a log should be: refused in a sentence, or scored."""

import polars as pl
import pytest

FRAMES = 150


@pytest.fixture
def hostile(benchmark):
    return benchmark("hostile_frames")


def test_hostile_frames_are_refused_in_a_sentence_or_scored(hostile):
    counts, places = hostile.run(range(FRAMES))
    wrong = {told: seeds for told, seeds in places.items() if told not in hostile.FINE}
    assert not wrong
    assert min(counts["scored"], counts["refused"]) > FRAMES / 5


def test_a_frame_that_would_end_in_an_error_of_polars_is_told_as_such(hostile, monkeypatch):
    def broken(*_, **__):
        raise pl.exceptions.ComputeError("not ours")

    monkeypatch.setattr(hostile, "check", broken)
    (told,) = hostile.run([0])[0]
    assert told.startswith("ComputeError")


def test_a_clean_row_without_a_score_is_told_as_such(hostile, monkeypatch):
    score = hostile.RewardFunction.score_events

    def lost(*given):
        return score(*given).with_columns(reward=pl.lit(None, pl.Float64))

    sound = next(seed for seed in range(50) if not hostile.case_of(seed).did)
    monkeypatch.setattr(hostile.RewardFunction, "score_events", lost)
    assert dict(hostile.run([sound])[0]) == {"reward of a clean row is null or not finite": 1}
