import pytest
import torch

from reward.rewards import Rewards, exposure_rewards


def test_the_reward_is_the_members_mean_difference_and_its_doubt_their_spread():
    blank = torch.tensor([[1.0, 2.0], [3.0, 3.0]])
    filled = torch.tensor([[1.5, 3.5], [2.0, 2.0]])
    rewards = exposure_rewards(blank, filled)
    assert rewards.mean.tolist() == [1.0, -1.0]
    assert rewards.std.tolist() == [0.5, 0.0]


def test_one_baseline_serves_all_candidates():
    blank = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    filled = torch.arange(12.0).view(2, 3, 2)
    rewards = exposure_rewards(blank, filled)
    assert rewards.mean.shape == rewards.std.shape == (2, 3)
    assert rewards.mean[0].tolist() == [-1.0, 1.0, 3.0]
    assert rewards.mean[1].tolist() == [6.5, 8.5, 10.5]


def test_an_ensemble_of_one_has_no_spread():
    assert exposure_rewards(torch.zeros(4, 1), torch.ones(4, 1)).std.tolist() == [0.0] * 4


def test_doubt_is_held_against_a_reward():
    rewards = Rewards(torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.0]))
    assert rewards.pessimistic(2.0).tolist() == pytest.approx([0.0, 0.5])
    assert torch.equal(rewards.pessimistic(0.0), rewards.mean)
