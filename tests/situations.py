"""Accounts of effects, one of each situation that a reader can be in."""

from dataclasses import replace

import numpy as np
import polars as pl

from reward.causal.diagnostics.balance import Balance
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.diagnostics.policy_shift import PolicyShift
from reward.causal.diagnostics.summary import not_estimated, summarize_effects
from reward.causal.propensity.calibration import Calibration
from reward.causal.propensity.conditional_logit import Propensities

_FRAME = pl.DataFrame({"covariate": ["past activity"], "spread": [0.1], "unweighted": [0.2], "z": [5.0]})
FLAGGED, BALANCED = (
    Balance(_FRAME.with_columns(flagged=pl.lit(flag)), level=2.33, clipped=0.0, slots=10) for flag in (True, False)
)
ESTIMATED = Propensities(
    propensity=np.array([0.5, 0.5]),
    half=np.array([0, 1]),
    calibration=Calibration(pl.DataFrame({"predicted": [0.1], "observed": [0.1]}), 1.2, 0.01, False, -2.0, -2.5, -3.0),
    settings={"gate": None},
    features=("activity over 3 days",),
    rows=2,
    users=2,
    items=1,
    slates=2,
)
THERE, NOTHING, REFUTED = CalibrationSlope(0.9, 0.1), CalibrationSlope(0.1, 0.2), CalibrationSlope(-1.0, 0.2)
ALIKE = CalibrationSlope(0.0, np.inf)
SURE = PolicyShift(*np.array([[0.1, 1.0], [0.02, 0.05], [0.02, 0.04], [0.005, 0.03]]))
UNSURE = replace(SURE, kept_se=10 * SURE.kept_se)
BOTH = {0.0: SURE, 1.0: SURE}
REWARDS = {"personal": (THERE, THERE), "pushed": BOTH}

SITUATIONS = {
    "supported": summarize_effects(THERE, None, BALANCED, personal=(THERE, THERE)),
    "supported, to be pushed": summarize_effects(THERE, None, BALANCED, **REWARDS),
    "supported, nothing to gain from leaning": summarize_effects(
        THERE, None, BALANCED, pushed={0.0: UNSURE, 1.0: UNSURE}
    ),
    "estimated propensities": summarize_effects(THERE, ESTIMATED, BALANCED, **REWARDS),
    "balance not checked": summarize_effects(THERE, None, None, unchecked="the log is short", **REWARDS),
    "flagged": summarize_effects(THERE, None, FLAGGED, **REWARDS),
    "estimated and flagged": summarize_effects(THERE, ESTIMATED, FLAGGED, **REWARDS),
    "no effect": summarize_effects(NOTHING, None, BALANCED, pushed=BOTH),
    "rewards add nothing certain": summarize_effects(THERE, None, BALANCED, personal=(NOTHING, NOTHING), pushed=BOTH),
    "all alike": summarize_effects(ALIKE, None, BALANCED, pushed=BOTH),
    "contradicted": summarize_effects(REFUTED, None, BALANCED, pushed=BOTH),
    "personal part contradicted": summarize_effects(THERE, None, BALANCED, personal=(THERE, REFUTED), pushed=BOTH),
    "not estimated": not_estimated("they need outcome.scope=user"),
    "no account": None,
}
