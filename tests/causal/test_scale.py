"""The second stage on a large catalogue: the benchmark of scale, and a little one of it."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MOST_KIB_A_ROW = 2.0  # at 1M rows, Python and its libraries included


def run(tmp_path, rows, items):
    """The figures that the benchmark's command writes."""
    file = tmp_path / "scale.json"
    told = ["--rows", str(rows), "--items", str(items), "--out", str(file)]
    subprocess.run([sys.executable, str(BENCHMARKS / "scale.py"), *told], check=True, stdout=subprocess.DEVNULL)
    return {row["metric"]: row["ours"] for row in json.loads(file.read_text())["rows"]}


@pytest.fixture
def scale(benchmark):
    return benchmark("scale")


def test_a_drawn_log_has_the_rows_it_is_asked_for_and_true_propensities(scale):
    log, truth = scale.drawn_log(20_000, 40)
    events = log.events.collect()
    assert 19_000 < events.height < 22_000
    assert len(truth) == 40
    first = events.filter(events["timestamp"].dt.date() == events["timestamp"].dt.date().min())
    shown = first.group_by("item_id").agg(pl.len(), pl.col("propensity").unique())  # on its first day all are idle
    assert (shown["propensity"].list.len() == 1).all()
    expected = shown["propensity"].list.first() * first.height
    assert ((shown["len"] - expected) ** 2 / expected).sum() < 2 * len(shown)  # a chi-square of so many items


def test_what_a_feature_does_is_found_where_an_item_has_ten_rows(scale):
    found = scale.measure(50_000, 5_000)
    assert found["rows"] > 47_500
    assert found["Pearson"] > 0.5
    assert found["held-out slope / its standard error"] > 1.96
    assert found["held-out slope"] == pytest.approx(1, abs=0.6)


@pytest.mark.slow
def test_a_million_rows_on_a_hundred_thousand_items_are_fitted_in_a_bounded_memory(tmp_path):
    found = run(tmp_path, 1_000_000, 100_000)
    assert found["rows"] >= 1_000_000
    assert found["items shown"] > 80_000
    assert found["KiB a row"] < MOST_KIB_A_ROW
    assert found["Pearson"] > 0.85
    for part in ("", "personal "):
        assert found[f"{part}held-out slope / its standard error"] > 1.96
        assert found[f"{part}held-out slope"] == pytest.approx(1, abs=0.35)
