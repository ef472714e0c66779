"""The benchmark of where the reward fails, in little."""

import json
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def limits(benchmark):
    return benchmark("limits")


def chosen(**told):
    usual = {"first_seed": 7, "seeds": 2, "users": [100, 200], "gains": [0.0, 0.5], "moods": [0.0, 1.0]}
    usual |= {"alarm_seeds": 1, "alarm_worlds": ["confounded"], "parents_per_day": 5}
    return SimpleNamespace(**usual | told)


def test_effects_and_the_unlogged_cause_are_scaled_and_nothing_else_is(limits):
    cases = limits.cases_of(chosen())
    usual = limits.world_of("confounded", users=200)
    halved = cases[limits.EFFECTS]["0.5, 200 users", 8]
    assert halved.seed == 8
    assert halved.service.world == limits.replace(usual, gain=usual.gain / 2)
    assert halved.config.simulation.gain == usual.gain / 2
    caused = cases[limits.CAUSE]["1, 200 users", 7].service.world
    assert caused == limits.replace(limits.world_of("hidden", users=200), policy_mood=1.0)
    assert cases[limits.ALARMS]["confounded, 200 users", 7].service.world == usual


def test_the_truth_is_measured_once_for_all_sizes_of_a_log(limits):
    cases = limits.cases_of(chosen())
    jobs = limits.jobs_of(cases[limits.EFFECTS], limits.EFFECTS, 100)
    asked = [(case.seed, case.changes) for case, parts in jobs.items() for part in parts if part == limits.TRUTH]
    assert len(asked) == len(set(asked)) == 4
    assert all(case.users == 100 for case, parts in jobs.items() if limits.TRUTH in parts)
    assert not any(limits.TRUTH in parts for parts in limits.jobs_of(cases[limits.ALARMS], limits.ALARMS, 100).values())


def test_means_and_standard_errors_are_over_seeds_and_alarms_are_counted_over_worlds(limits):
    metric = f"Pearson, {limits.LEARNED}"
    (seeds, row) = limits.rows_of(limits.EFFECTS, {"1, 100 users": [{metric: 0.2}, {metric: 0.4}]})
    assert (seeds["ours"], row["ours"], row["se"]) == (2, pytest.approx(0.3), pytest.approx(0.1))
    flag = f"flagged, {limits.BY_LOGGED}"
    found = {"one, 100 users": [{flag: 1.0}, {flag: 0.0}], "other, 100 users": [{flag: 0.0}, {flag: 0.0}]}
    told = {(row["what"], row["metric"]): row["ours"] for row in limits.rows_of(limits.ALARMS, found)}
    assert told["alarms, all worlds, 100 users", flag] == 0.25
    assert told["alarms, all worlds, 100 users", f"logs, {limits.BY_LOGGED}"] == 4


def test_a_run_goes_on_from_what_is_kept_and_draws_its_curves(limits, tmp_path, monkeypatch):
    monkeypatch.setitem(limits.ASKED, limits.EFFECTS, (limits.SHOWN, limits.LEARNED))
    monkeypatch.setitem(limits.ASKED, limits.ALARMS, (limits.BY_LOGGED,))
    file, picture = tmp_path / "result.json", tmp_path / "limits.png"
    told = ["--seeds", "1", "--users", "150", "--gains", "0", "1", "--parents-per-day", "5", "--alarm-seeds", "1"]
    told += [
        "--alarm-worlds",
        "confounded",
        "--moods",
        "1",
        "--cache",
        str(tmp_path),
        "--out",
        str(file),
        "--questions",
    ]
    limits.main([*told, limits.EFFECTS, limits.ALARMS])
    for part in limits.HOW:
        monkeypatch.setitem(limits.HOW, part, None)  # would fail if it was computed again
    limits.main([*told, limits.EFFECTS, "--plot", str(picture)])
    assert picture.stat().st_size > 0
    rows = {(row["what"], row["metric"]): row["ours"] for row in json.loads(file.read_text())["rows"]}
    assert rows["effects, 0, 150 users", "sd of true effects (days)"] == 0
    assert rows["effects, 1, 150 users", "sd of true effects (days)"] > 0
    assert -1 <= rows["effects, 1, 150 users", f"Pearson, {limits.LEARNED}"] <= 1
    limits.main([*told, limits.ALARMS, "--from-cache"])
    rows = {(row["what"], row["metric"]): row["ours"] for row in json.loads(file.read_text())["rows"]}
    assert rows["alarms, confounded, 150 users", f"flagged, {limits.BY_LOGGED}"] in (0, 1)
    assert np.isfinite(rows["alarms, confounded, 150 users", f"z past assignments, {limits.BY_LOGGED}"])
