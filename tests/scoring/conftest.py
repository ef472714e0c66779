import pytest

from reward.scoring.function import RewardFunction


@pytest.fixture
def function_of(network_of, features, outcome):
    """A scoring function with a model of effects, or without one."""

    def made(personal=None):
        return RewardFunction(
            network_of(),
            features,
            {"active_days": outcome},
            max_events=16,
            timestamp_unit=None,
            facts={},
            effects=personal,
        )

    return made
