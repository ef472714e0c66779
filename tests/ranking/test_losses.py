import doctest
import inspect
import math
import re
from itertools import permutations
from math import exp, log
from pathlib import Path

import pytest
import torch

from reward import ranking
from reward.ranking import losses

LOSSES = {
    name: function
    for name, function in inspect.getmembers(ranking, inspect.isfunction)
    if not name.startswith("_") and "scores" in inspect.signature(function).parameters
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "ranking.md").read_text()


def softplus(x):
    return log(1 + exp(x))


def softmax_of_one_list(scores, rewards):
    gains = [reward - min(rewards) for reward in rewards]
    normaliser = sum(exp(score) for score in scores)
    return -sum(g / sum(gains) * log(exp(s) / normaliser) for g, s in zip(gains, scores, strict=True))


def pairwise_logistic_of_one_list(scores, rewards):
    items = list(zip(scores, rewards, strict=True))
    pairs = [(r - q, s - t) for (s, r), (t, q) in permutations(items, 2) if r > q]
    return sum(gap * softplus(-lead) for gap, lead in pairs) / sum(gap for gap, _ in pairs)


def pointwise_logistic_of_one_list(scores, rewards):
    total = loss = 0.0
    for score, reward_ in zip(scores, rewards, strict=True):
        advantage = reward_ - sum(rewards) / len(rewards)
        probability = 1 / (1 + exp(-score))
        loss -= abs(advantage) * log(probability if advantage > 0 else 1 - probability)
        total += abs(advantage)
    return loss / total


ORACLES = {
    "softmax": softmax_of_one_list,
    "pairwise_logistic": pairwise_logistic_of_one_list,
    "pointwise_logistic": pointwise_logistic_of_one_list,
}


def lists(batch=5, items=7, dtype=torch.float64):
    """Scores, rewards the size of true effects in days, and masks that leave two to all of the items."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(batch, items, generator=generator, dtype=torch.float64)
    rewards = 0.04 * torch.randn(batch, items, generator=generator, dtype=torch.float64) - 0.01
    order = torch.rand(batch, items, generator=generator).argsort(-1)
    mask = order < torch.randint(2, items + 1, (batch, 1), generator=generator)
    return scores.to(dtype), rewards.to(dtype), mask


def value_and_gradient(loss, scores, rewards, **options):
    scores = scores.detach().clone().requires_grad_()
    value = loss(scores, rewards, **options)
    return value.detach(), torch.autograd.grad(value.sum(), scores)[0]


def test_softmax_is_the_cross_entropy_of_gains_over_the_worst_item():
    loss = ranking.softmax(torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[0.01, -0.05, -0.02]]))
    normaliser = exp(2) + exp(0) + exp(1)  # the gains are .06, 0 and .03: shares 2/3, 0 and 1/3
    expected = -(2 / 3 * log(exp(2) / normaliser) + 1 / 3 * log(exp(1) / normaliser))
    torch.testing.assert_close(loss, torch.tensor([expected]))


def test_softmax_is_least_where_scores_are_the_logarithms_of_the_gains():
    rewards = torch.tensor([[0.01, -0.05, -0.02]])
    scores = torch.tensor([[log(2 / 3), -1e4, log(1 / 3)]])
    value, gradient = value_and_gradient(ranking.softmax, scores, rewards)
    torch.testing.assert_close(value, torch.tensor([-2 / 3 * log(2 / 3) - 1 / 3 * log(1 / 3)]))
    torch.testing.assert_close(gradient, torch.zeros(1, 3), atol=1e-6, rtol=0)


def test_pairwise_logistic_weighs_pairs_by_their_reward_difference():
    loss = ranking.pairwise_logistic(torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[0.01, -0.05, -0.02]]))
    expected = 0.06 * softplus(-(2 - 0)) + 0.03 * softplus(-(2 - 1)) + 0.03 * softplus(-(1 - 0))
    torch.testing.assert_close(loss, torch.tensor([expected / (0.06 + 0.03 + 0.03)]))


def test_pairwise_logistic_asks_for_a_lead_of_margin_per_unit_of_reward():
    scores, rewards = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[0.01, -0.05, -0.02]])
    loss = ranking.pairwise_logistic(scores, rewards, margin=50.0)
    expected = 0.06 * softplus(3 - 2) + 0.03 * softplus(1.5 - 1) + 0.03 * softplus(1.5 - 1)
    torch.testing.assert_close(loss, torch.tensor([expected / 0.12]))


def test_pairwise_logistic_bounds_the_reward_differences_put_in_the_wrong_order():
    scores, rewards, _ = lists(batch=200, items=5)
    gap = rewards[:, :, None] - rewards[:, None, :]
    wrong = (gap > 0) & (scores[:, :, None] <= scores[:, None, :])
    share_wrong = (gap * wrong).sum((1, 2)) / (gap * (gap > 0)).sum((1, 2))
    assert (share_wrong <= ranking.pairwise_logistic(scores, rewards) / log(2)).all()


def test_pairwise_logistic_hardly_moves_when_rounding_breaks_a_tie():
    scores = torch.tensor([[3.0, -3.0, 0.0]], dtype=torch.float64)
    tied = torch.tensor([[0.01, 0.01, 0.05]], dtype=torch.float64)
    broken = tied + torch.tensor([[0, 1e-12, 0]], dtype=torch.float64)
    torch.testing.assert_close(
        ranking.pairwise_logistic(scores, tied), ranking.pairwise_logistic(scores, broken), rtol=0, atol=1e-9
    )


def test_pointwise_logistic_weighs_items_by_their_distance_to_the_mean():
    loss = ranking.pointwise_logistic(torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[0.01, -0.05, -0.02]]))
    expected = 0.03 * softplus(-2) + 0.03 * softplus(0) + 0 * softplus(1)  # the mean is -.02
    torch.testing.assert_close(loss, torch.tensor([expected / 0.06]))


@pytest.mark.parametrize("baseline", [-0.04, torch.tensor(-0.04), torch.tensor([-0.04])])
def test_pointwise_logistic_takes_a_baseline_instead_of_the_mean(baseline):
    scores, rewards = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[0.01, -0.05, -0.02]])
    loss = ranking.pointwise_logistic(scores, rewards, baseline=baseline)
    expected = 0.05 * softplus(-2) + 0.01 * softplus(0) + 0.02 * softplus(-1)
    torch.testing.assert_close(loss, torch.tensor([expected / 0.08]))


def test_pointwise_logistic_reads_each_list_against_its_own_baseline():
    scores = torch.tensor([[2.0], [2.0], [2.0]])
    rewards, baselines = torch.full((3, 1), 0.1), torch.tensor([0.0, 0.2, 0.1])
    loss = ranking.pointwise_logistic(scores, rewards, baseline=baselines)
    torch.testing.assert_close(loss, torch.tensor([softplus(-2), softplus(2), 0.0]))


def test_every_public_function_of_the_losses_is_exported():
    public = {
        name
        for name, function in inspect.getmembers(losses, inspect.isfunction)
        if function.__module__ == losses.__name__ and not name.startswith("_")
    }
    assert public == set(LOSSES)
    assert public <= set(ranking.__all__)


@every_loss
def test_a_loss_takes_scores_rewards_and_keyword_options_left_out_by_default(loss):
    scores, rewards, *options = inspect.signature(loss).parameters.values()
    assert (scores.name, rewards.name, options[0].name) == ("scores", "rewards", "mask")
    assert options[0].default is None
    assert all(o.kind is o.KEYWORD_ONLY and o.default is not o.empty for o in options)
    assert not loss.__name__.endswith("_loss")


@every_loss
def test_a_loss_says_its_arguments_result_errors_and_source(loss):
    for heading in ("Args:", "Returns:", "Raises:", "Source:", "Example:"):
        assert f"\n    {heading}\n" in loss.__doc__


@every_loss
def test_the_example_of_a_loss_runs(loss):
    (example,) = doctest.DocTestFinder(recurse=False).find(loss, loss.__name__, globs={**vars(losses)})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


@every_loss
def test_a_loss_has_a_row_on_the_page(loss):
    assert f"\n| `{loss.__name__}` |" in PAGE


@every_loss
def test_a_loss_agrees_with_plain_python_on_the_items_that_take_part(loss):
    scores, rewards, mask = lists()
    expected = [
        ORACLES[loss.__name__](s[m].tolist(), r[m].tolist()) for s, r, m in zip(scores, rewards, mask, strict=True)
    ]
    actual = loss(scores, rewards, mask=mask)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64))


@every_loss
def test_the_gradient_is_the_slope_of_the_value(loss):
    scores, rewards, mask = lists(batch=2, items=4)
    assert torch.autograd.gradcheck(lambda s: loss(s, rewards, mask=mask), scores.requires_grad_())


@every_loss
def test_no_mask_is_a_mask_of_all(loss):
    scores, rewards, _ = lists()
    everything = torch.ones_like(scores, dtype=torch.bool)
    torch.testing.assert_close(loss(scores, rewards), loss(scores, rewards, mask=everything), rtol=0, atol=0)


@every_loss
@pytest.mark.parametrize("kind", ["all masked", "one of many", "a single place", "all masked and NaN"])
def test_a_list_without_two_items_gives_exactly_zero(loss, kind):
    scores, rewards, _ = lists()
    mask = torch.zeros_like(scores, dtype=torch.bool)
    if kind == "one of many":
        mask[:, 2] = True
    elif kind == "a single place":
        scores, rewards, mask = scores[:, :1], rewards[:, :1], ~mask[:, :1]
    elif kind == "all masked and NaN":
        scores, rewards = torch.full_like(scores, math.nan), torch.full_like(rewards, math.nan)
    value, gradient = value_and_gradient(loss, scores, rewards, mask=mask)
    assert value.tolist() == [0.0] * len(scores)
    assert (gradient == 0).all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("items", [2, 3, 7, 10, 97])
@pytest.mark.parametrize("reward_value", [0.0, 0.1, -0.1, 1 / 3, 1e-3, 13.7])
def test_tied_rewards_give_exactly_zero(loss, dtype, items, reward_value):
    scores, other, mask = lists(items=items, dtype=dtype)
    tied = torch.full_like(other, reward_value)
    value, gradient = value_and_gradient(loss, scores, tied)
    assert value.tolist() == [0.0] * len(scores)
    assert (gradient == 0).all()
    value, gradient = value_and_gradient(loss, scores, torch.where(mask, tied, other), mask=mask)
    assert value.tolist() == [0.0] * len(scores)
    assert (gradient == 0).all()


@every_loss
@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf, 1e30])
def test_masked_items_reach_neither_value_nor_gradient(loss, garbage):
    scores, rewards, mask = lists()
    value, gradient = value_and_gradient(loss, scores, rewards, mask=mask)
    spoilt, spoilt_gradient = value_and_gradient(
        loss, scores.masked_fill(~mask, garbage), rewards.masked_fill(~mask, garbage), mask=mask
    )
    assert torch.equal(spoilt, value)
    assert torch.equal(spoilt_gradient, gradient)
    assert (gradient[~mask] == 0).all()


@every_loss
def test_padding_a_list_changes_nothing(loss):
    scores, rewards, _ = lists()
    padded = [torch.cat([x, torch.full_like(x[:, :3], 9.0)], dim=-1) for x in (scores, rewards)]
    mask = torch.arange(scores.shape[-1] + 3).expand_as(padded[0]) < scores.shape[-1]
    torch.testing.assert_close(loss(*padded, mask=mask), loss(scores, rewards))


@every_loss
def test_the_order_of_the_items_does_not_matter(loss):
    scores, rewards, mask = lists()
    order = torch.randperm(scores.shape[-1], generator=torch.Generator().manual_seed(1))
    value, gradient = value_and_gradient(loss, scores, rewards, mask=mask)
    moved, moved_gradient = value_and_gradient(loss, scores[:, order], rewards[:, order], mask=mask[:, order])
    torch.testing.assert_close(moved, value)
    torch.testing.assert_close(moved_gradient, gradient[:, order])


@every_loss
def test_a_list_does_not_depend_on_the_others_in_its_batch(loss):
    scores, rewards, mask = lists()
    value, gradient = value_and_gradient(loss, scores, rewards, mask=mask)
    for i in range(len(scores)):
        alone = value_and_gradient(loss, scores[i : i + 1], rewards[i : i + 1], mask=mask[i : i + 1])
        torch.testing.assert_close(alone, (value[i : i + 1], gradient[i : i + 1]))


@every_loss
@pytest.mark.parametrize("shape", [(), (1,), (6,), (2, 3), (1, 2, 3), (0,), (2, 0)])
def test_any_batch_shape_gives_one_number_per_list(loss, shape):
    scores, rewards, mask = (x[: math.prod(shape)] for x in lists(batch=6))
    value, gradient = value_and_gradient(loss, scores, rewards, mask=mask)
    reshaped = [x.reshape(*shape, 7) for x in (scores, rewards, mask)]
    actual, actual_gradient = value_and_gradient(loss, *reshaped[:2], mask=reshaped[2])
    assert actual.shape == shape
    torch.testing.assert_close(actual.flatten(), value)
    torch.testing.assert_close(actual_gradient.reshape_as(gradient), gradient)


@every_loss
@pytest.mark.parametrize("constant", [-2.5, 0.04, 14.0])
def test_a_constant_added_to_the_rewards_changes_nothing(loss, constant):
    scores, rewards, mask = lists()
    shift = constant * torch.arange(1, len(scores) + 1, dtype=scores.dtype)[:, None]  # each list its own
    torch.testing.assert_close(
        value_and_gradient(loss, scores, rewards + shift, mask=mask),
        value_and_gradient(loss, scores, rewards, mask=mask),
    )


@every_loss
@pytest.mark.parametrize("unit", [1e-6, 24 * 60.0, 1e6])
def test_the_unit_of_the_rewards_does_not_matter(loss, unit):
    scores, rewards, mask = lists()
    torch.testing.assert_close(loss(scores, unit * rewards, mask=mask), loss(scores, rewards, mask=mask))


@every_loss
def test_the_gradient_pushes_the_better_of_two_items_up(loss):
    scores, rewards, _ = lists(batch=50, items=2)
    _, gradient = value_and_gradient(loss, scores, rewards)
    better = rewards.argmax(-1, keepdim=True)
    assert (gradient.gather(-1, better) < 0).all()
    assert (gradient.gather(-1, 1 - better) > 0).all()


@every_loss
def test_descending_a_loss_sorts_the_items_by_reward(loss):
    _, rewards, _ = lists()
    scores = torch.zeros_like(rewards)
    for _ in range(100):
        scores -= value_and_gradient(loss, scores, rewards)[1]
    assert torch.equal(scores.argsort(-1), rewards.argsort(-1))


@every_loss
def test_no_gradient_flows_into_the_rewards(loss):
    scores, rewards, mask = lists()
    value = loss(scores.requires_grad_(), rewards.requires_grad_(), mask=mask)
    assert torch.autograd.grad(value.sum(), rewards, allow_unused=True) == (None,)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rewards_dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_result_has_the_dtype_of_the_scores_and_its_precision(loss, dtype, rewards_dtype):
    scores, rewards, mask = lists()
    scores, rewards = scores.to(dtype), rewards.to(rewards_dtype)
    value, gradient = value_and_gradient(loss, scores, rewards, mask=mask)
    exact, exact_gradient = value_and_gradient(loss, scores.double(), rewards.double(), mask=mask)
    assert value.dtype == gradient.dtype == dtype
    working = 16 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    tolerance = {"rtol": max(torch.finfo(dtype).eps, working), "atol": working}  # rounded once, at the end
    torch.testing.assert_close(value.double(), exact, **tolerance)
    torch.testing.assert_close(gradient.double(), exact_gradient, **tolerance)


@every_loss
def test_rewards_more_precise_than_the_scores_keep_their_precision(loss):
    scores, rewards, mask = lists()
    expected = loss(scores.float(), rewards, mask=mask)
    torch.testing.assert_close(loss(scores.float(), rewards + 1e5, mask=mask), expected)


@every_loss
def test_counts_serve_as_rewards(loss):
    scores, rewards, mask = lists(dtype=torch.float32)
    days = (100 * rewards).round()
    torch.testing.assert_close(loss(scores, days.long(), mask=mask), loss(scores, days, mask=mask))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_of_ten_thousand_stay_finite(loss, dtype):
    scores, rewards, mask = lists()
    scores = (1e4 * scores.sign()).to(dtype)
    value, gradient = value_and_gradient(loss, scores, rewards.float(), mask=mask)
    exact, exact_gradient = value_and_gradient(loss, scores.double(), rewards.float().double(), mask=mask)
    torch.testing.assert_close(value.double(), exact, rtol=0.01 if dtype == torch.bfloat16 else 1e-5, atol=0)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=0, atol=0.01)


@every_loss
@pytest.mark.parametrize("place", ["scores", "rewards"])
def test_nan_in_an_item_that_takes_part_makes_its_own_list_nan(loss, place):
    scores, rewards, mask = lists()
    clean = loss(scores, rewards, mask=mask)
    mask[1, 3] = True
    (scores if place == "scores" else rewards)[1, 3] = math.nan
    spoilt = loss(scores, rewards, mask=mask)
    assert spoilt.isnan().tolist() == [False, True, False, False, False]
    assert torch.equal(spoilt[[0, 2, 3, 4]], clean[[0, 2, 3, 4]])


@every_loss
@pytest.mark.parametrize("infinity", [math.inf, -math.inf])
def test_an_infinite_reward_that_takes_part_makes_its_own_list_nan(loss, infinity):
    scores, rewards, _ = lists()
    rewards[1, 3] = infinity
    assert loss(scores, rewards).isnan().tolist() == [False, True, False, False, False]


@every_loss
def test_a_loss_compiles_into_one_graph(loss):
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    for batch, items in ((5, 7), (3, 4), (0, 4)):
        scores, rewards, mask = lists(batch, items)
        torch.testing.assert_close(
            value_and_gradient(compiled, scores, rewards, mask=mask),
            value_and_gradient(loss, scores, rewards, mask=mask),
        )
    torch.testing.assert_close(compiled(scores, rewards), loss(scores, rewards))


@every_loss
def test_autocast_leaves_a_loss_as_precise(loss):
    scores, rewards, mask = lists(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(scores, rewards, mask=mask)
    torch.testing.assert_close(value, loss(scores, rewards, mask=mask))


@every_loss
@pytest.mark.parametrize("shape", [(), (3, 0)])
def test_lists_without_a_place_for_items_are_refused(loss, shape):
    with pytest.raises(ValueError, match=rf"scores: expected .* at least one item, got {re.escape(str(shape))}"):
        loss(torch.zeros(shape), torch.zeros(shape))


@every_loss
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_scores_that_are_not_floating_are_refused(loss, dtype):
    with pytest.raises(ValueError, match=f"scores: expected a floating dtype, got {dtype}"):
        loss(torch.zeros(2, 3, dtype=dtype), torch.zeros(2, 3))


@every_loss
@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 1), (2, 4)])
def test_rewards_of_another_shape_are_refused(loss, shape):
    expected = re.escape(f"rewards: expected the shape of scores, (2, 3), got {shape}")
    with pytest.raises(ValueError, match=expected):
        loss(torch.zeros(2, 3), torch.zeros(shape))


@every_loss
def test_a_mask_of_another_shape_is_refused(loss):
    expected = re.escape("mask: expected the shape of scores, (2, 3), got (3,)")
    with pytest.raises(ValueError, match=expected):
        loss(torch.zeros(2, 3), torch.zeros(2, 3), mask=torch.ones(3, dtype=torch.bool))


@every_loss
def test_a_mask_that_is_not_bool_is_refused(loss):
    with pytest.raises(ValueError, match=r"mask: expected torch\.bool .* got torch\.float32"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3), mask=torch.ones(2, 3))


@pytest.mark.parametrize("shape", [(3,), (2, 1), (2, 3)])
def test_a_baseline_that_is_not_one_per_list_is_refused(shape):
    expected = re.escape(f"baseline: expected one number or one per list, (2,), got {shape}")
    with pytest.raises(ValueError, match=expected):
        ranking.pointwise_logistic(torch.zeros(2, 3), torch.zeros(2, 3), baseline=torch.zeros(shape))


@pytest.mark.parametrize("loss", [losses.softmax, losses.pairwise_logistic, losses.pointwise_logistic])
def test_a_score_of_minus_infinity_is_as_low_as_a_score_can_be(loss):
    """As the limit of ever lower scores; its own gradient is 0."""
    rewards = torch.tensor([[0.5, 0.1, 0.0], [0.5, 0.1, 0.0]])
    scores = torch.tensor([[1.0, 2.0, -torch.inf], [1.0, 2.0, -1e4]], requires_grad=True)
    found = loss(scores, rewards)
    found.sum().backward()
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(scores.grad[0], scores.grad[1])
    assert scores.grad[0, 2] == 0


@pytest.mark.parametrize("loss", [losses.softmax, losses.pairwise_logistic, losses.pointwise_logistic])
@pytest.mark.parametrize("low", [[0], [0, 1], [0, 1, 2]])
def test_scores_of_minus_infinity_leave_value_and_gradient_finite(loss, low):
    scores = torch.tensor([[1.0, 2.0, 0.5]])
    scores[:, low] = -torch.inf
    scores.requires_grad_()
    found = loss(scores, torch.tensor([[0.5, 0.1, 0.0]]))
    found.sum().backward()
    assert found.isfinite().all()
    assert scores.grad.isfinite().all()
