"""The benchmark of off-policy intervals, in little."""

import json

import numpy as np
import pytest


@pytest.fixture
def intervals(benchmark):
    return benchmark("off_policy_intervals")


def test_a_simulation_is_that_of_its_seed_and_clipping_is_chosen_where_noise_is_large(intervals):
    case = intervals.Case(1_000, 0.7, 0.5, 5.0)
    one, again = (intervals.simulated(case, 3) for _ in range(2))
    assert one == again
    found = [it for it in (intervals.simulated(case, s) for s in range(12)) if it is not None]
    assert len(found) >= 6
    halves = np.array([[it[kind][1] for kind in intervals.KINDS] for it in found])
    assert (halves[:, 1] <= halves[:, 0] + 1e-12).all()
    assert (halves[:, 2] > 0).all()  # it counts on a bias, and the others on rows that the log has missed


def test_a_log_of_few_effective_rows_is_refused(intervals):
    assert intervals.simulated(intervals.Case(200, 3.0, 2.0, 1.0), 0) is None


def test_the_command_writes_goals(intervals, monkeypatch, tmp_path):
    monkeypatch.setattr(intervals, "CASES", (intervals.Case(1_000, 0.7, 0.5, 1.0),))
    intervals.main(["--simulations", "20", "--out", str(tmp_path / "out.json")])
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    (judged,) = [row for row in rows if row["goal"] is not None]
    assert judged["metric"] == "unclipped, covered"
    assert judged["ours"] > 0.7
    assert rows[-1]["metric"] == "refused"
