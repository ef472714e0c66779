"""The benchmark of the second stage on a real log, in little."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("real_log")
    for name in ("worlds", "real_log"):
        sys.modules.pop(name, None)


def test_permuting_keeps_what_was_shown_each_day_and_who_was_there_and_items_take_their_propensities_along(benchmark):
    log = benchmark.known_log(benchmark.settings(), users=300)
    before = log.events.collect()
    propensity = before["item_id"].rank("dense").to_numpy() / 1e6  # one number an item
    made, along = benchmark.permuted(log, propensity, np.random.default_rng(0))
    after = made.events.collect()
    assert before.drop("item_id").equals(after.drop("item_id"))
    assert (before["item_id"] != after["item_id"]).mean() > 0.9
    day = before["timestamp"].dt.convert_time_zone(log.timezone).dt.date()
    counts = [frame.group_by(day.alias("day"), "item_id").len().sort("day", "item_id") for frame in (before, after)]
    assert counts[0].equals(counts[1])
    known = dict(zip(before["item_id"], propensity, strict=True))
    assert along.tolist() == [known[item] for item in after["item_id"]]


def test_the_result_has_its_form(benchmark, tmp_path):
    file = tmp_path / "result.json"
    benchmark.main(["--users", "1500", "--permutations", "2", "--out", str(file)])
    result = json.loads(file.read_text())
    assert set(result) == {"commit", "machine", "rows"}
    assert all(set(row) == {"what", "metric", "ours", "se", "peers", "goal", "met"} for row in result["rows"])
    found = {(row["what"] == benchmark.LOG, row["metric"]): row for row in result["rows"]}
    slope = found[True, "held-out slope"]
    assert found[True, "held-out slope, 95% to"]["ours"] == pytest.approx(slope["ours"] + 1.96 * slope["se"])
    share = found[False, "share that finds nothing"]
    assert share["met"] == (share["ours"] >= 0.93)


def test_a_permutation_finds_nothing_if_its_interval_holds_0(benchmark):
    assert benchmark.shares_of_nothing([(0.1, 0.1), (-0.3, 0.1), (0.0, np.inf), (0.2, 0.1)]) == (0.5, 0.25)
