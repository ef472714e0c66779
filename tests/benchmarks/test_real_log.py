"""The benchmark of the second stage on a real log, in little."""

import json

import numpy as np
import pytest


@pytest.fixture
def real_log(benchmark):
    return benchmark("real_log")


def test_permuting_keeps_what_was_shown_each_day_and_who_was_there_and_items_take_their_propensities_along(real_log):
    log = real_log.known_log(real_log.settings(), users=300)
    before = log.events.collect()
    propensity = before["item_id"].rank("dense").to_numpy() / 1e6  # one number an item
    made, along = real_log.permuted(log, propensity, np.random.default_rng(0))
    after = made.events.collect()
    assert before.drop("item_id").equals(after.drop("item_id"))
    assert (before["item_id"] != after["item_id"]).mean() > 0.9
    day = before["timestamp"].dt.convert_time_zone(log.timezone).dt.date()
    counts = [frame.group_by(day.alias("day"), "item_id").len().sort("day", "item_id") for frame in (before, after)]
    assert counts[0].equals(counts[1])
    known = dict(zip(before["item_id"], propensity, strict=True))
    assert along.tolist() == [known[item] for item in after["item_id"]]


def test_the_result_has_its_form(real_log, benchmark, tmp_path):
    file, log = tmp_path / "result.json", [*benchmark("harness").WORLD.split(), "causal.personal=null"]
    real_log.main(["--users", "60", "--permutations", "2", "--out", str(file), "--settings", *log])
    result = json.loads(file.read_text())
    assert set(result) == {"commit", "machine", "rows", "seconds"}
    assert all(set(row) == {"what", "metric", "ours", "se", "peers", "goal", "met"} for row in result["rows"])
    found = {(row["what"] == real_log.LOG, row["metric"]): row for row in result["rows"]}
    slope = found[True, "held-out slope"]
    assert found[True, "held-out slope, 95% to"]["ours"] == pytest.approx(slope["ours"] + 1.96 * slope["se"])
    share = found[False, "share that finds nothing"]
    assert share["met"] == (share["ours"] >= 0.93)


def test_a_permutation_finds_nothing_if_its_interval_holds_0(real_log):
    assert real_log.shares_of_nothing([(0.1, 0.1), (-0.3, 0.1), (0.0, np.inf), (0.2, 0.1)]) == (0.5, 0.25)
