"""What the benchmark of surrogates draws is what it says, and what it tells is counted right."""

import json

import numpy as np
import pytest


@pytest.fixture
def surrogates(benchmark):
    return benchmark("surrogates")


@pytest.fixture
def traces(surrogates):
    return surrogates.traces


def lived(traces, act, treated, seed=0):
    return traces.lived(act, treated, np.random.default_rng(seed))


def test_a_test_that_does_nothing_leaves_everybody_as_they_were(traces):
    none, treated = np.zeros(300, bool), np.ones(300, bool)
    one, other = (lived(traces, traces.Act(), each) for each in (none, treated))
    assert (one.days == other.days).all()
    assert one.days.shape == (300, 63)
    assert one.before.shape == (300, 28)
    assert traces.truth(traces.Act(), 300, 0) == (0, 0)


def test_nobody_who_left_comes_back(traces):
    act = traces.Act(leaving=6.0)  # a chance of 1 a day
    users = lived(traces, act, np.ones(300, bool))
    assert users.before.any()
    assert not users.days[:, 5:].any()


def test_an_early_act_moves_early_days_first_and_later_ones_through_the_habit(traces):
    act = traces.Act(early=0.5, left=False, hidden=False)
    none, pushed = (lived(traces, act, np.full(20_000, w)) for w in (False, True))
    gained = pushed.days.mean(0) - none.days.mean(0)
    assert gained[:14].mean() > 0.05 > gained[21:].mean() > 0.003


def test_given_base_and_habit_an_early_act_adds_nothing_later(traces):
    treated = np.arange(60_000) % 2 == 0
    act = traces.Act(early=0.5, left=False, hidden=False)
    users = lived(traces, act, treated)
    later = users.days[:, 14:].sum(1)
    cell = 40 * np.digitize(users.base, np.linspace(-3, 1.5, 30)) + np.digitize(
        users.habit[:, 1], np.linspace(0, 1, 31)
    )
    size = [np.bincount(cell[arm], minlength=1300) for arm in (treated, ~treated)]
    mean = [
        np.bincount(cell[arm], later[arm], 1300) / np.maximum(n, 1)
        for arm, n in zip((treated, ~treated), size, strict=True)
    ]
    weight = 1 / np.maximum(1 / np.maximum(size[0], 1e-9) + 1 / np.maximum(size[1], 1e-9), 1e-9)
    apart = np.average(mean[0] - mean[1], weights=weight)
    assert later[treated].mean() - later[~treated].mean() > 0.5
    assert abs(apart) < 0.2


def test_the_chances_are_those_of_the_days(traces):
    users = lived(traces, traces.CASES["leaving"], np.arange(20_000) % 2 == 0)
    gap = users.outcome - users.chance
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))


def test_one_command_tells_of_drawn_tests(surrogates, tmp_path, monkeypatch):
    pytest.importorskip("lightgbm")
    small = {
        "USERS": 200,
        "MIXED_TESTS": 14,
        "MIXED_USERS": 200,
        "MIXED_PAST": 300,
        "KNOWN_TESTS": (5,),
        "SPLITS": 3,
        "TESTS": 8,
        "TEST_USERS": 200,
        "PAST_USERS": 300,
        "TRUTH_USERS": 2000,
        "RESAMPLES": 20,
    }
    for name, value in small.items():
        monkeypatch.setattr(surrogates, name, value)
    words = ["--studies", "index", "mixed", "agreement", "--repetitions", "2", "--nothing-repetitions", "2"]
    words += ["--holding-repetitions", "2"]
    out = tmp_path / "surrogates.json"
    surrogates.main([*words, "--cache", str(tmp_path / "cache"), "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    told = {(row["what"], row["metric"]): row for row in rows}
    assert len(told) == len(rows)
    assert told["agreement, 63 days", "consistent, days seen so far, day 63"]["ours"] == 1
    assert told["agreement, 63 days", "consistent, LightGBM auto-surrogate, day 63"]["ours"] == 1
    assert told["agreement, 63 days", "consistent, days seen so far, day 14"]["peers"]
    widened = [row for row in rows if row["metric"] == surrogates.WIDENED and row["goal"]]
    assert len(widened) == len(surrogates.traces.CASES) + 1  # and one of the mixed tests
    assert all(row["met"] for row in widened)


def test_errors_of_effects_by_hand(surrogates):
    rows = surrogates.told_error("w", np.array([2.0, 0.0]), np.array([1.0, -1.0]), "l", resamples=20)
    assert rows[0]["ours"] == pytest.approx(1.0)
    assert rows[1]["ours"] == pytest.approx(1.0)
