import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reward.effects.account import account, account_sentences, no_account
from reward.effects.anchors import HeldOut
from reward.effects.balance import Balance
from reward.effects.propensities import Calibration, Propensities
from reward.effects.pushing import Push

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
THERE, NOTHING, REFUTED = HeldOut(1.0, 0.2), HeldOut(0.1, 0.2), HeldOut(-1.0, 0.2)


def test_logged_propensities_that_balance_are_warned_of_by_nobody():
    found = account(THERE, None, BALANCED)
    assert found["propensities"] == "logged"
    assert found["interval"] == pytest.approx([1 - 0.392, 1 + 0.392])
    assert found["warning"] is None
    assert found["policy"] is None


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
            ["Expect much less", "does not even hold"],
        ),
    ],
)
def test_what_speaks_against_the_effects_is_in_the_warning(estimated, balance, words):
    warning = account(THERE, estimated, balance, unchecked="too short")["warning"]
    assert all(word in warning for word in words)
    assert ("speaks against" in warning) == (balance is FLAGGED)


@pytest.mark.parametrize(
    ("borne_out", "balance", "verdict"),
    [
        (THERE, BALANCED, "The effects of items are borne out: users held out show 1.00 days (95% 0.61 to 1.39)"),
        (THERE, FLAGGED, "No effect of items is claimed"),
        (NOTHING, FLAGGED, "No effect of items distinguishable from zero: users held out show 0.10 days"),
        (REFUTED, BALANCED, "The effects of items are refuted"),
        (HeldOut(0.0, np.inf), BALANCED, "No effect of items distinguishable from zero: all estimates are alike"),
    ],
)
def test_the_verdict_comes_first_and_claims_nothing_that_the_check_speaks_against(borne_out, balance, verdict):
    assert account_sentences(account(borne_out, None, balance))[0].startswith(verdict)


def test_the_sentences_tell_of_the_policy_s_model_and_of_the_balance():
    told = account_sentences(account(THERE, ESTIMATED, BALANCED))
    assert "holds for users it was not fitted on: log-likelihood -2.50 a row (-3.00 if" in told[1]
    assert told[2:] == BALANCED.sentences()
    unchecked = account_sentences(account(THERE, ESTIMATED, None, unchecked="the log is short"))
    assert unchecked[2:] == ["Balance was not checked: the log is short."]


def test_an_account_goes_into_json_and_what_could_not_be_done_has_the_same_keys():
    none = no_account("they need outcome.scope=user")
    assert account_sentences(none) == ["Effects of items were not estimated: they need outcome.scope=user"]
    for found in (none, account(HeldOut(0.0, np.inf), ESTIMATED, FLAGGED)):
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found.keys() == none.keys()


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (THERE, "What a user likes and has seen is borne out beside the item: they show 1.00 days (95% 0.61 to 1.39)"),
        (NOTHING, "What a user likes and has seen makes no difference distinguishable from zero: they show 0.10 days"),
        (REFUTED, "What a user likes and has seen is refuted"),
        (HeldOut(0.0, np.inf), "What a user likes and has seen makes no difference that this log can show."),
    ],
)
def test_what_rewards_add_to_the_effects_of_items_is_told_apart(added, words):
    found = account(THERE, None, BALANCED, personal=(HeldOut(0.9, 0.1), added))
    assert found["rewards"]["interval"] == pytest.approx([0.9 - 0.196, 0.9 + 0.196])
    assert account_sentences(found)[1].startswith(words)
    assert account_sentences(account(THERE, None, BALANCED))[1:] == BALANCED.sentences()
    confounded = account_sentences(account(THERE, ESTIMATED, FLAGGED, personal=(THERE, THERE)))
    assert confounded[1].startswith("Of what a user likes and has seen nothing is claimed either")


def test_how_far_a_ranker_may_be_pushed_is_told_where_the_propensities_hold():
    sure = Push(*np.array([[0.1, 1.0], [0.02, 0.05], [0.02, 0.04], [0.005, 0.03]]))
    found = account(THERE, None, BALANCED, pushed={0.0: sure, 1.0: replace(sure, kept=-sure.kept)})
    assert found["push"]["0"]["limit"] == 0.1
    assert found["push"]["1"]["limit"] == 0
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    said = account_sentences(found)[1]
    assert "on the mean up to 0.1 nats from what was shown, where users held out keep 0.020 days" in said
    assert "(95% 0.010 to 0.030) of 0.020 promised; on the mean less 1 standard deviation no push is sure" in said
    assert "cannot be said" in account_sentences(account(THERE, None, FLAGGED, pushed={0.0: sure}))[1]
