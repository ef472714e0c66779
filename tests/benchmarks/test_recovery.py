"""The benchmark of recovery, in little."""

import json

import numpy as np
import polars as pl
import pytest
import torch


@pytest.fixture
def recovery(benchmark):
    return benchmark("recovery")


def test_a_run_that_was_broken_off_goes_on_and_the_result_has_its_form(recovery, tmp_path, monkeypatch):
    file, cache = tmp_path / "result.json", tmp_path / "cache"
    parts = [recovery.TRUTH, "today", recovery.LEARNED]
    told = ["--worlds", "clickbait", "--seeds", "1", "--users", "250", "--parents-per-day", "20"]
    told += ["--cache", str(cache), "--out", str(file), "--parts"]
    recovery.main([*told, *parts[:2]])
    monkeypatch.setitem(recovery.PARTS, recovery.TRUTH, None)  # would fail if it was computed again
    recovery.main([*told, *parts])
    result = json.loads(file.read_text())
    assert set(result) == {"commit", "machine", "rows", "seconds"}
    assert all(set(row) == {"what", "metric", "ours", "se", "peers", "goal", "met"} for row in result["rows"])
    told = {row["metric"]: row for row in result["rows"] if row["what"] == "clickbait"}
    assert told["seeds"]["ours"] == 1
    assert -1 <= told["Pearson, learned reward"]["ours"] <= 1
    margin = told["Pearson, learned reward, above the best of today's"]
    (peer,) = margin["peers"].values()
    assert margin["ours"] == pytest.approx(told["Pearson, learned reward"]["ours"] - peer)
    assert peer == max(told[f"Pearson, {name}"]["ours"] for name in set(recovery.TODAY) - set(recovery.SURVEYED))


def test_the_truth_itself_is_recovered_whatever_the_level_and_a_constant_says_nothing(recovery):
    rng = np.random.default_rng(0)
    truth = {"mean": rng.normal(size=30), "se": np.full(30, 0.01)}
    truth["mean"][0] = np.nan  # not live on the days looked at
    shown = {"exposures": np.full(30, 300), "base activity": rng.normal(size=30), "throughout": np.arange(30) < 20}
    shown["exposures"][1] = 100  # too few to be judged
    estimate = {"mean": truth["mean"] / 2 + 7, "std": np.full(30, 0.01), "slope": np.array(1.0)}
    estimate["mean"][:2] = 99.0
    found = recovery.evaluate(
        truth, shown, {"it": estimate | {"slope_se": np.array(0.6)}, "constant": np.ones(30), "half": truth["mean"]}
    )
    assert [found["Pearson, it"], found["Spearman, it"]] == pytest.approx([1, 1])
    assert found["slope of truth, it"] == pytest.approx(2)
    assert found["held-out interval covers 0, it"] == 1
    assert found["Pearson, constant"] == 0
    off = truth["mean"][2:] - truth["mean"][2:].mean()
    assert found["truth in the 95% interval, it"] == np.mean(np.abs(off / 2) <= 1.96 * 0.01 * 2**0.5)


def test_the_null_world_has_no_correlation_and_its_interval_must_hold_0(recovery):
    row = {"Pearson, learned reward": float("nan"), "held-out interval covers 0, learned reward": 0.0}
    told = {row["metric"]: row for row in recovery.rows_of({"no_effect": {0: row, 1: row}})}
    assert told["Pearson, learned reward"]["ours"] is None
    assert told["held-out interval covers 0, learned reward"]["met"] is False


def cells(recovery, effect, reward, se=0.0):
    """What `judge_cells` is given where every cell was shown as often."""
    told = {"exposures": np.full(effect.shape, 500), "slots": np.ones(effect.shape), "own": reward.mean(axis=1)}
    told |= dict.fromkeys(("mean", "logged", "weighted"), reward) | {"std": np.full(effect.shape, 0.01)}
    told |= {name: np.array([1.0, 0.1]) for name in ("held-out slope", "held-out slope, personal")}
    truth = {"by_segment": effect, "by_segment_se": np.full(effect.shape, se)}
    return truth | {"mean": effect.mean(axis=1), "se": np.zeros(len(effect))}, told


def test_rewards_by_segment_are_judged_whatever_the_segments_levels_and_by_third_of_activity(recovery):
    rng = np.random.default_rng(0)
    effect = rng.normal(size=(200, 6))
    level, scale = rng.normal(size=6), np.array([0.5, 0.5, 1.0, 1.0, 2.0, 2.0])
    truth, told = cells(recovery, effect * scale + level, effect.copy())
    told["exposures"][0] = 0  # never shown
    truth["by_segment"][1, 2] = np.nan
    found = recovery.judge_cells(truth, told)
    name = "prospective reward by item and segment"
    assert found[f"judged, {name}"] == 199 * 6 - 1
    for third, slope in zip(("least active", "middle", "most active"), (0.5, 1.0, 2.0), strict=True):
        assert found[f"slope of truth, {third} third, {name}"] == pytest.approx(slope)
        assert found[f"Pearson, {third} third, {name}"] == pytest.approx(1)
        assert found[f"mean error of what is shown (days), {third} third, {name}"] == pytest.approx(0, abs=1e-12)
    assert found["held-out slope, personal, prospective reward by item and segment"] == 1


def test_what_the_truth_is_uncertain_of_is_not_counted_against_the_reward(recovery):
    rng = np.random.default_rng(1)
    effect = rng.normal(size=(2000, 6))
    truth, told = cells(recovery, effect + 0.5 * rng.normal(size=effect.shape), effect, se=0.5)
    found = recovery.judge_cells(truth, told)
    name = "prospective reward by item and segment"
    assert found[f"Pearson, {name}"] == pytest.approx(1 / 1.25**0.5, abs=0.01)
    assert found[f"Pearson, corrected for noise of the truth, {name}"] == pytest.approx(1, abs=0.01)
    assert found[f"spread of the truth (days), {name}"] == pytest.approx(1, abs=0.02)
    between = f"Pearson, between segments of an item, corrected for noise of the truth, {name}"
    assert found[between] == pytest.approx(1, abs=0.01)


def test_every_live_item_is_scored_in_slots_of_the_days_of_the_truth_as_of_the_visits_first_moment(benchmark):
    logs, rewards = benchmark("recovered.logs"), benchmark("recovered.rewards")
    case = logs.Case("clickbait", 3, 150, 5)
    found = logs.fitted(case, case.log).model
    events, segment = case.events, rewards.segments_of(case.service)
    told = rewards.rewards_by_cell(case.service, events, found, segment, [17], slots=10**6, rows=10**6, seed=0)
    day = events.with_columns(day=pl.col("timestamp").dt.ordinal_day() - 1)
    shown = day.filter(day["day"] == 17)
    users = events["user_id"].unique().sort()
    first = shown.group_by("user_id").agg(pl.col("timestamp").min(), pl.len())
    mine = first.filter(pl.Series(segment[first["user_id"].to_numpy()] == 4))
    moment = mine["timestamp"].dt.epoch("us").to_numpy() / 86_400e6
    standing = found.history(events, users).state(users.search_sorted(mine["user_id"]).to_numpy().astype(int), moment)
    live = case.service.catalogue.live(17)
    score = found.score(standing, found.known(np.arange(case.items)).of(torch.from_numpy(live)[None])).mean
    expected = np.average(score.numpy(), axis=0, weights=mine["len"].to_numpy())
    np.testing.assert_allclose(told["mean"][live, 4], expected, atol=1e-9)
    assert told["slots"].sum() == len(shown) * len(live)
    assert told["exposures"].sum() == len(events)
    assert np.isnan(np.delete(told["mean"], live, axis=0)).all()
    late = day.filter(day["day"] >= case.service.world.days // 2)
    assert told["logged rows"].sum() == len(late)
