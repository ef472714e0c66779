"""Services run on by rankers that lean on rewards which differ from user to user."""

import numpy as np
import pytest

from reward.causal.user_effects.model import PersonalizedEffect
from reward.simulation.lives import first_state
from reward.simulation.service import simulate
from reward.simulation.slate_policies import logging_policy

USERS, HALF = 150, 30


@pytest.fixture
def pushed(benchmark):
    return benchmark("pushed.service")


@pytest.fixture
def logs(benchmark):
    return benchmark("recovered.logs")


@pytest.fixture
def case(logs):
    return logs.Case("clickbait", 100, USERS, 10)


@pytest.fixture
def start(case):
    return simulate(case.service, logging_policy(case.service), first_state(case.service), HALF).state


def test_the_divergence_of_two_policies_by_hand(pushed):
    base, lean = np.log(np.array([[1.0, 1.0]])), np.log(np.array([[3.0, 1.0]]))
    assert pushed.divergence(base, lean) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert pushed.divergence(base, lean * 0) == pytest.approx(0)


def test_the_first_days_slates_are_as_far_as_asked(pushed, case, start):
    reward = pushed.by_item(np.random.default_rng(0).normal(size=case.items))
    far = []
    (strength,) = pushed.strengths(case.service, start, reward(), (0.4,))
    simulate(case.service, pushed.leaning(case.service, reward(), strength, far), start, 1, draw=1)
    assert np.concatenate(far).mean() == pytest.approx(0.4, rel=0.05)  # other slates than the service's own


def test_what_was_seen_is_counted_as_the_log_counts_it(pushed, logs, case, start, monkeypatch):
    """The service's own policy lives the log once more, and each day's first slates see what the log says was seen."""
    personal = logs.fitted(case, case.log).model
    events, seen, views = case.events, [], []
    whole = PersonalizedEffect.of_seen

    def watched(self, person, facts, own, group):
        seen.append((own, group))
        return whole(self, person, facts, own, group)

    monkeypatch.setattr(PersonalizedEffect, "of_seen", watched)
    reward = pushed.by_user(case.service, events, personal, start, 0.0)

    def kept(view):
        views.append(view)
        return reward(view)

    simulate(case.service, pushed.leaning(case.service, kept, 0.0, []), start, 12)
    users = events["user_id"].unique().sort()
    past, compared = personal.history(events, users), 0
    midnight = float(events["timestamp"].dt.truncate("1d").min().timestamp() / 86_400)
    for number, (view, (own, group)) in enumerate(zip(views, seen, strict=True)):
        if number and views[number - 1].day == view.day:
            continue  # not the day's first slates
        m, width = own.shape[:2]
        row = np.repeat(users.search_sorted(view.users).to_numpy(), width)
        codes = np.tile(view.live, m)
        kin = personal.facts.group.numpy()[np.minimum(personal.codes(codes), len(personal.ids))]
        told = past.seen(row, personal.codes(codes), kin, np.full(m * width, midnight + view.day))
        for mine, logs in zip((own[..., 2].flatten(), group.flatten()), (told[0][:, 2], told[1]), strict=True):
            wrong = ~np.isclose(mine.numpy(), logs.numpy(), rtol=0.12, atol=1e-4)  # days, not minutes
            assert wrong.mean() < 0.01  # of a group's items that are gone, the last slate is not told
            compared += int((logs > 0.5).sum())
    assert compared > 1000
