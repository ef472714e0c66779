"""The benchmark of rewards by what rankers make of them, in little."""

import json

import numpy as np
import pytest


def test_the_true_effects_make_a_better_ranker_than_chance_and_the_result_has_its_form(benchmark, tmp_path):
    file = tmp_path / "result.json"
    signals = ["--signals", "truth", "click rate"]
    sizes = ["--users", "400", "--roll-out-users", "250", "--views", "2000", "--candidates", "20"]
    benchmark("closing_the_gap").main(
        ["--worlds", "clickbait", "--seeds", "0", "1", *signals, *sizes, "--out", str(file)]
    )
    result = json.loads(file.read_text())
    assert set(result) == {"commit", "machine", "rows", "seconds"}
    assert all(set(row) == {"what", "metric", "ours", "se", "peers", "goal", "met"} for row in result["rows"])
    assert {row["what"] for row in result["rows"]} == {"clickbait", "all worlds"}
    gap = {row["metric"]: row["ours"] for row in result["rows"] if row["what"] == "clickbait"}
    assert gap["gap closed, click-optimal"] == 0
    assert gap["gap closed, oracle"] == 1
    assert gap["gap closed, truth"] > gap["gap closed, random"]
    assert gap["gap closed, truth, 95% from"] < gap["gap closed, truth"] < gap["gap closed, truth, 95% to"]
    assert gap["share of truth, click rate"] == pytest.approx(gap["gap closed, click rate"] / gap["gap closed, truth"])


def test_a_signal_of_another_shape_is_an_error(benchmark):
    study_of, rewards_of = benchmark("gap.study").study_of, benchmark("gap.signals").rewards_of
    world = benchmark("worlds").world_of("clickbait", users=200, days=20)
    study = study_of(world, 0, views=100, candidates=10, roll_out_users=50)
    with pytest.raises(ValueError, match="expected a signal of the shape"):
        rewards_of(study, lambda study: np.zeros(3))
