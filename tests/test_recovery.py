"""The benchmark of recovery, in little."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def recovery(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module("recovery")
    for name in set(sys.modules) - before:
        if name in ("worlds", "recovery") or name.partition(".")[0] == "gap":
            del sys.modules[name]


def test_a_run_that_was_broken_off_goes_on_and_the_result_has_its_form(recovery, tmp_path, monkeypatch):
    file, cache = tmp_path / "result.json", tmp_path / "cache"
    parts = [recovery.TRUTH, "today", recovery.LEARNED]
    told = ["--worlds", "clickbait", "--seeds", "1", "--users", "250", "--parents-per-day", "20"]
    told += ["--cache", str(cache), "--out", str(file), "--parts"]
    recovery.main([*told, *parts[:2]])
    monkeypatch.setitem(recovery.PARTS, recovery.TRUTH, None)  # would fail if it was computed again
    recovery.main([*told, *parts])
    result = json.loads(file.read_text())
    assert set(result) == {"commit", "machine", "rows"}
    assert all(set(row) == {"what", "metric", "ours", "se", "peers", "goal", "met"} for row in result["rows"])
    told = {row["metric"]: row for row in result["rows"] if row["what"] == "clickbait"}
    assert told["seeds"]["ours"] == 1
    assert -1 <= told["Pearson, learned reward"]["ours"] <= 1
    margin = told["Pearson, learned reward, above the best of today's"]
    (peer,) = margin["peers"].values()
    assert margin["ours"] == pytest.approx(told["Pearson, learned reward"]["ours"] - peer)
    assert peer == max(told[f"Pearson, {name}"]["ours"] for name in recovery.TODAY)


def test_the_truth_itself_is_recovered_whatever_the_level_and_a_constant_says_nothing(recovery):
    rng = np.random.default_rng(0)
    truth = {"mean": rng.normal(size=30), "se": np.full(30, 0.01)}
    truth["mean"][0] = np.nan  # not live on the days looked at
    shown = {"exposures": np.full(30, 300), "base activity": rng.normal(size=30), "throughout": np.arange(30) < 20}
    shown["exposures"][1] = 100  # too few to be judged
    estimate = {"mean": truth["mean"] / 2 + 7, "std": np.full(30, 0.01), "slope": np.array(1.0)}
    estimate["mean"][:2] = 99.0
    found = recovery.judge(
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
