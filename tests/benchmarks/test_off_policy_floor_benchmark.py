"""The benchmark of off-policy intervals near the floor, in little."""

import json

import numpy as np
import pytest


@pytest.fixture
def floor(benchmark):
    return benchmark("off_policy_floor")


@pytest.mark.parametrize("name", ["kinds", "contexts", "catalogue", "doses"])
def test_what_is_said_to_be_true_is_what_estimates_are_around(floor, name):
    told = np.stack([floor.simulated(floor.SERVICES[name], False, seed).errors[:, 0] for seed in range(40)])
    assert (np.abs(told.mean(axis=0)) < 4 * told.std(axis=0) / 40**0.5).all()


def test_a_simulation_is_that_of_its_seed(floor):
    one, again = (floor.simulated(floor.SERVICES["kinds"], True, 3) for _ in range(2))
    assert (one.refused, one.effective_sample_size) == (again.refused, again.effective_sample_size)
    np.testing.assert_array_equal(one.errors, again.errors)


def test_the_command_writes_goals_and_what_the_floor_alone_would_hold(floor, monkeypatch, tmp_path):
    monkeypatch.setattr(floor, "SERVICES", {"doses": floor.SERVICES["doses"]})
    floor.main(["--simulations", "80", "--out", str(tmp_path / "out.json")])
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    judged = [row for row in rows if row["goal"] is not None]
    assert {row["metric"].split(",")[0] for row in judged} == set(floor.ESTIMATORS)
    assert all(row["ours"] > row["peers"]["floor alone"] - 0.1 for row in judged)
    assert {row["what"] for row in rows} == {"doses, near the floor", "doses, far from it"}
