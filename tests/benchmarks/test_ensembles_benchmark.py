"""The benchmark of pessimistic ensembles, in little."""

import json

import numpy as np
import pytest
import torch

from reward.heads.trace import TraceHead


@pytest.fixture
def ensembles(benchmark):
    return benchmark("ensembles")


class Function(torch.nn.Module):
    """Of the shape of a scoring function, as far as its head."""

    def __init__(self):
        super().__init__()
        self.network = torch.nn.Module()
        self.network.head = TraceHead(width=8, hidden=4, horizon_days=3, members=5)


def test_a_member_is_one_head_of_the_ensemble(ensembles):
    function, state = Function(), torch.randn(6, 8)
    whole = function.network.head.value(state)
    for which in range(5):
        alone = ensembles.member(function, which).network.head.value(state)
        torch.testing.assert_close(alone[:, 0], whole[:, which])
    torch.testing.assert_close(function.network.head.value(state), whole)


def test_rows_tell_of_single_members_their_mean_and_where_gains_turn(ensembles):
    kinds = [f"one member {which}" for which in range(5)] + list(ensembles.KINDS[1:])
    found = {}
    for place, name in enumerate(kinds):
        rising = np.arange(6.0) if place else np.array([0.0, 2, 1, 0, -1, -2])
        found |= {f"{name}, true": rising, f"{name}, days": -rising - 1, f"{name}, days_se": np.full(6, 0.1)}
        found[f"{name}, correlation"] = np.array(0.1 * place)
    rows = {(row["what"], row["metric"]): row for row in ensembles.rows_of("clickbait", found)}
    one = rows["clickbait, one member", "correlation with the truth over items"]
    assert one["ours"] == pytest.approx(0.2)
    assert one["se"] == pytest.approx(np.std([0, 0.1, 0.2, 0.3, 0.4], ddof=1) / 5**0.5)
    assert rows["clickbait, one member", "true gain turns at, nats"]["ours"] == pytest.approx((0.4 + 4 * 4) / 5)
    assert rows["clickbait, mean", "active days turn at, nats"]["ours"] == 0
    assert rows["clickbait, worst", "active days gained at 1 nats"]["se"] == 0.1
    json.dumps(list(rows.values()), allow_nan=False)
