"""The card says what the verdict carries, and warns of the rest."""

import pytest
from situations import SITUATIONS

from reward.__main__ import caution_of
from reward.causal.diagnostics.summary import no_push, verdict
from reward.scoring.effect_sentences import effect_sentences
from reward.scoring.model_card import model_card


@pytest.fixture
def function(function_of, effects):
    return function_of(effects.model)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_card_has_the_verdict_the_warning_and_no_claim_beyond_them(function, situation):
    effects = SITUATIONS[situation]
    card = model_card(function, {"effects": effects.to_json()} if effects else {})
    assert f"**Verdict: {verdict(effects)}.**" in card
    if not effects:
        return
    for sentence in effect_sentences(effects):
        assert f"- {sentence}\n" in card
    assert (f"> **Warning.** {effects.warning}" in card) == (effects.warning is not None)
    assert ("Do not act on the rewards of this artefact" in card) == (no_push(effects) is not None)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_whoever_scores_is_told_not_to_act_on_rewards_that_the_verdict_does_not_carry(function, situation):
    effects = SITUATIONS[situation]
    function.facts["effects"] = effects.to_json() if effects else effects
    why = no_push(effects) if effects else None
    assert caution_of(function) == (None if why is None else f"Warning: do not act on these rewards: {why}")
    function.effects = None
    assert caution_of(function) is None
    assert caution_of(object()) is None
