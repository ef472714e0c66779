import numpy as np
import pytest

from reward.causal.user_effects.preferences import fit_taste

USERS, ITEMS, COLUMNS, EACH = 1500, 60, 6, 40


def answers(spread, seed=0):
    """Users' tastes are along the first column alone; the columns are far from white."""
    rng = np.random.default_rng(seed)
    described = rng.normal(size=(ITEMS, COLUMNS)) @ rng.normal(size=(COLUMNS, COLUMNS))
    taste = spread * rng.normal(size=USERS)
    user = np.repeat(np.arange(USERS), EACH)
    item = rng.integers(0, ITEMS, len(user))
    along = described[:, 0] / described[:, 0].std()
    answer = taste[user] * along[item] + rng.normal(size=len(user))
    return described, along, taste, user, item, answer


def test_the_direction_and_the_spread_of_taste_are_found():
    described, along, taste, user, item, answer = answers(0.3)
    found = fit_taste(answer, user, item, described)
    assert found.axes.shape == (COLUMNS, 1)
    place = described @ found.axes[:, 0]
    assert abs(np.corrcoef(place, along)[0, 1]) > 0.99
    assert found.prior[0] == pytest.approx(1 / 0.3**2, rel=0.2)
    assert found.noise == pytest.approx(1.0 + 0.3**2, rel=0.05)
    total = np.bincount(user, answer * place[item], USERS)[:, None]
    mean = found.mean(total, np.full(USERS, float(EACH)))
    likeness, truth = mean[:, 0][:, None] * place, taste[:, None] * along
    assert np.corrcoef(likeness.ravel(), truth.ravel())[0, 1] > 0.85
    slope = (likeness * truth).sum() / (likeness**2).sum()
    assert slope == pytest.approx(1.0, abs=0.1)  # a posterior mean needs no shrinking
    left = ((truth - likeness) ** 2).mean() / (place**2).mean()
    assert left == pytest.approx(found.variance(np.full(1, float(EACH)))[0, 0], rel=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_where_users_are_alike_no_direction_is_found(seed):
    described, _, _, user, item, answer = answers(0.0, seed)
    assert fit_taste(answer, user, item, described).axes.shape[1] <= 1  # the edge of the noise is met now and then
    assert fit_taste(answer[:1], user[:1], item[:1], described).axes.shape == (COLUMNS, 0)


def test_without_traits_there_is_no_taste():
    found = fit_taste(np.ones(5), np.arange(5), np.zeros(5, np.int64), np.zeros((3, 0)))
    assert found.axes.shape == (0, 0)
    assert found.mean(np.zeros((2, 0)), np.ones(2)).shape == (2, 0)
