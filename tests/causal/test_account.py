import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reward.causal.choosing import Chosen, Roles
from reward.causal.diagnostics.balance import Balance
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.diagnostics.policy_shift import PolicyShift
from reward.causal.diagnostics.summary import (
    EffectSummary,
    Verdict,
    no_push,
    not_estimated,
    summarize_effects,
    verdict,
)
from reward.causal.propensity.calibration import Calibration
from reward.causal.propensity.conditional_logit import Propensities
from reward.scoring.effect_sentences import effect_sentences

FRAME = pl.DataFrame({"covariate": ["past activity"], "spread": [0.1], "unweighted": [0.2], "z": [5.0]})
FLAGGED, BALANCED = (
    Balance(FRAME.with_columns(flagged=pl.lit(flag)), level=2.33, clipped=0.0, slots=10) for flag in (True, False)
)
CALIBRATION = Calibration(pl.DataFrame({"predicted": [0.1], "observed": [0.1]}), 1.25, 0.01, False, -2.0, -2.5, -3.0)
ESTIMATED = Propensities(
    propensity=np.array([0.5, 0.5]),
    half=np.array([0, 1]),
    calibration=CALIBRATION,
    settings={"gate": None},
    features=("activity over 3 days",),
    rows=2,
    users=2,
    items=1,
    slates=2,
)
THERE, NOTHING, REFUTED = CalibrationSlope(1.0, 0.2), CalibrationSlope(0.1, 0.2), CalibrationSlope(-1.0, 0.2)


def test_logged_propensities_that_balance_are_warned_of_by_nobody():
    found = summarize_effects(THERE, None, BALANCED)
    assert found.propensities == "logged"
    assert found.items.interval == pytest.approx([1 - 0.392, 1 + 0.392])
    assert found.warning is None
    assert found.policy is None


def test_logged_propensities_that_were_not_used_are_warned_of_with_the_reason():
    warning = summarize_effects(THERE, ESTIMATED, BALANCED, unused="propensity is 1 in every row").warning
    assert warning.startswith("The log's propensities were not used: propensity is 1 in every row. They were estimated")
    assert "has no propensities" not in warning


def test_what_was_chosen_is_told_last():
    chosen = Chosen(Roles("click", (), None), ("gate",), {"gate": {"click": 4.0}})
    found = summarize_effects(THERE, None, BALANCED, chosen=chosen)
    assert found.chosen.gate == "click"
    assert effect_sentences(found)[-1] == chosen.sentence()
    assert "click is above 0 (which explains the items' effects by +4.0 nats)" in chosen.sentence()
    assert not_estimated("too short").chosen is None


@pytest.mark.parametrize(
    ("estimated", "balance", "words"),
    [
        (ESTIMATED, BALANCED, ["has no propensities", "Expect much less"]),
        (ESTIMATED, FLAGGED, ["Expect much less", "speaks against the estimated propensities"]),
        (ESTIMATED, None, ["Expect much less", "balance was not checked"]),
        (None, FLAGGED, ["speaks against the logged propensities"]),
        (
            replace(ESTIMATED, calibration=replace(CALIBRATION, flagged=True)),
            BALANCED,
            ["Expect much less", "does not hold for held-out users"],
        ),
    ],
)
def test_what_speaks_against_the_effects_is_in_the_warning(estimated, balance, words):
    warning = summarize_effects(THERE, estimated, balance, unchecked="too short").warning
    assert all(word in warning for word in words)
    assert ("speaks against" in warning) == (balance is FLAGGED)


@pytest.mark.parametrize(
    ("calibration", "balance", "words"),
    [
        (
            THERE,
            BALANCED,
            "Held-out users confirm the effects of items: for each day of predicted effect, held-out users show 1.00 "
            "days (95% interval 0.61 to 1.39), with logged propensities.",
        ),
        (THERE, FLAGGED, "No effect of items is claimed"),
        (NOTHING, FLAGGED, "Effects of items cannot be distinguished from zero: for each day of predicted effect"),
        (REFUTED, BALANCED, "Held-out users contradict the effects of items"),
        (
            CalibrationSlope(0.0, np.inf),
            BALANCED,
            "Effects of items cannot be distinguished from zero: all estimates are the same",
        ),
    ],
)
def test_the_verdict_comes_first_and_claims_nothing_that_the_check_speaks_against(calibration, balance, words):
    assert effect_sentences(summarize_effects(calibration, None, balance))[0].startswith(words)


def test_the_sentences_tell_of_the_policy_s_model_and_of_the_balance():
    told = effect_sentences(summarize_effects(THERE, ESTIMATED, BALANCED))
    assert "holds for held-out users: log-likelihood −2.50 a row (−3.00 if" in told[1]
    assert told[2:] == BALANCED.sentences()
    unchecked = effect_sentences(summarize_effects(THERE, ESTIMATED, None, unchecked="the log is short"))
    assert unchecked[2:] == ["Balance was not checked: the log is short."]


ALIKE = CalibrationSlope(0.0, np.inf)


@pytest.mark.parametrize(
    ("items", "personal", "estimated", "balance", "expected"),
    [
        (THERE, None, None, BALANCED, Verdict.SUPPORTED),
        (THERE, (THERE, THERE), None, BALANCED, Verdict.SUPPORTED),
        (THERE, (THERE, NOTHING), None, BALANCED, Verdict.SUPPORTED),  # rewards are confirmed, what is added is small
        (THERE, None, None, None, Verdict.TO_BE_TESTED),
        (THERE, None, ESTIMATED, BALANCED, Verdict.TO_BE_TESTED),
        (THERE, None, ESTIMATED, None, Verdict.TO_BE_TESTED),
        (THERE, None, None, FLAGGED, Verdict.CONFOUNDED),
        (THERE, None, ESTIMATED, FLAGGED, Verdict.CONFOUNDED),
        (NOTHING, None, None, BALANCED, Verdict.NOT_DETECTED),
        (NOTHING, (THERE, THERE), None, BALANCED, Verdict.NOT_DETECTED),
        (THERE, (NOTHING, NOTHING), None, BALANCED, Verdict.NOT_DETECTED),
        (NOTHING, None, None, FLAGGED, Verdict.NOT_DETECTED),
        (ALIKE, None, None, BALANCED, Verdict.NOT_DETECTED),
        (THERE, (ALIKE, ALIKE), None, BALANCED, Verdict.NOT_DETECTED),
        (REFUTED, None, None, BALANCED, Verdict.CONTRADICTED),
        (THERE, (REFUTED, REFUTED), None, FLAGGED, Verdict.CONTRADICTED),
        (THERE, (THERE, REFUTED), None, BALANCED, Verdict.CONTRADICTED),
    ],
)
def test_a_verdict_is_the_worst_that_held_out_users_and_the_balance_say(items, personal, estimated, balance, expected):
    found = summarize_effects(items, estimated, balance, personal=personal)
    assert verdict(found) is expected
    assert (no_push(found) is None) == (expected in (Verdict.SUPPORTED, Verdict.TO_BE_TESTED))


def test_what_was_not_estimated_supports_nothing():
    for found in (None, EffectSummary.from_json({}), not_estimated("no propensities")):
        assert verdict(found) is Verdict.NOT_ESTIMATED
        assert no_push(found) == "they were not estimated"


def test_an_account_of_an_artefact_from_before_rewards_were_checked_has_a_verdict_too():
    values = summarize_effects(THERE, None, BALANCED).to_json()
    for later in ("rewards", "personal", "push", "chosen", "points"):
        del values[later]
    found = EffectSummary.from_json(values)
    assert verdict(found) is Verdict.SUPPORTED
    assert effect_sentences(found)[0].startswith("Held-out users confirm")


def test_an_account_goes_into_json_and_what_could_not_be_done_has_the_same_keys():
    none = not_estimated("they need outcome.scope=user")
    assert effect_sentences(none) == ["Effects of items were not estimated: they need outcome.scope=user"]
    for found in (none, summarize_effects(CalibrationSlope(0.0, np.inf), ESTIMATED, FLAGGED)):
        values = found.to_json()
        assert EffectSummary.from_json(json.loads(json.dumps(values, allow_nan=False))).to_json() == values
        assert values.keys() == none.to_json().keys()


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (
            THERE,
            "Held-out users confirm that effects depend on what a user likes and has already seen: for each",
        ),
        (
            NOTHING,
            "What a user likes and has already seen makes no difference that this log can show: for each pre",
        ),
        (REFUTED, "Held-out users contradict the personal part of rewards: for each predicted day of it"),
        (
            CalibrationSlope(0.0, np.inf),
            "What a user likes and has already seen makes no difference that this log can show.",
        ),
    ],
)
def test_what_rewards_add_to_the_effects_of_items_is_told_apart(added, words):
    found = summarize_effects(THERE, None, BALANCED, personal=(CalibrationSlope(0.9, 0.1), added))
    assert found.rewards.interval == pytest.approx([0.9 - 0.196, 0.9 + 0.196])
    assert effect_sentences(found)[1].startswith(words)
    assert effect_sentences(summarize_effects(THERE, None, BALANCED))[1:] == BALANCED.sentences()
    confounded = effect_sentences(summarize_effects(THERE, ESTIMATED, FLAGGED, personal=(THERE, THERE)))
    assert confounded[1].startswith("No effect of what a user likes and has already seen is claimed either")


def test_how_far_a_ranker_can_lean_is_said_where_held_out_users_confirm_the_effects():
    sure = PolicyShift(*np.array([[0.1, 1.0], [0.02, 0.05], [0.02, 0.04], [0.005, 0.03]]))
    found = summarize_effects(THERE, None, BALANCED, pushed={0.0: sure, 1.0: replace(sure, kept=-sure.kept)})
    assert found.policy_shifts["0"].limit == 0.1
    assert found.policy_shifts["1"].limit == 0
    assert EffectSummary.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    said = effect_sentences(found)[1]
    assert said.startswith("How far a ranker can lean on the effects of items: by their mean, up to 0.1 nats")
    assert "where held-out users gain 0.0200 days an exposure (95% interval 0.0102 to 0.0298) of 0.0200 pre" in said
    assert "by their mean minus 1 standard deviation, no gain is certain at any distance" in said
    estimated = effect_sentences(summarize_effects(THERE, ESTIMATED, BALANCED, pushed={0.0: sure}))[1]
    assert estimated.startswith("How far an experiment could lean")


@pytest.mark.parametrize(("items", "balance"), [(THERE, FLAGGED), (NOTHING, BALANCED), (REFUTED, BALANCED)])
def test_no_ranker_is_told_to_lean_on_effects_that_are_not_there(items, balance):
    sure = PolicyShift(*np.array([[0.1, 1.0], [0.02, 0.05], [0.02, 0.04], [0.005, 0.03]]))
    said = effect_sentences(summarize_effects(items, None, balance, pushed={0.0: sure}))[1]
    assert said.startswith("A ranker should not lean on the effects of items: ")
    assert "nats" not in said
