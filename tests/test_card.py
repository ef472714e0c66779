"""The card says what the verdict carries, and warns of the rest."""

import pytest
from situations import SITUATIONS

from reward.card import model_card
from reward.effects.account import account_sentences, no_push, verdict
from reward.function import RewardFunction


@pytest.fixture
def function(network_of, features, outcome, effects):
    return RewardFunction(
        network_of(), features, outcome, max_events=16, timestamp_unit=None, facts={}, effects=effects.personal
    )


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_card_has_the_verdict_the_warning_and_no_claim_beyond_them(function, situation):
    effects = SITUATIONS[situation]
    card = model_card(function, {"effects": effects} if effects else {})
    assert f"**Verdict: {verdict(effects)}.**" in card
    if not effects:
        return
    for sentence in account_sentences(effects):
        assert f"- {sentence}\n" in card
    assert (f"> **Warning.** {effects['warning']}" in card) == (effects["warning"] is not None)
    assert ("Do not act on the rewards of this artefact" in card) == (no_push(effects) is not None)
