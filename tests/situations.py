"""Accounts of effects, one of each situation that a reader can be in."""

from dataclasses import replace

import numpy as np
import polars as pl

from reward.causal.diagnostics.balance import Balance
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.diagnostics.policy_shift import PolicyShift
from reward.causal.diagnostics.summary import account, no_summary
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
    "supported": account(THERE, None, BALANCED, personal=(THERE, THERE)),
    "supported, to be pushed": account(THERE, None, BALANCED, **REWARDS),
    "supported, nothing to gain from leaning": account(THERE, None, BALANCED, pushed={0.0: UNSURE, 1.0: UNSURE}),
    "estimated propensities": account(THERE, ESTIMATED, BALANCED, **REWARDS),
    "balance not checked": account(THERE, None, None, unchecked="the log is short", **REWARDS),
    "flagged": account(THERE, None, FLAGGED, **REWARDS),
    "estimated and flagged": account(THERE, ESTIMATED, FLAGGED, **REWARDS),
    "no effect": account(NOTHING, None, BALANCED, pushed=BOTH),
    "rewards add nothing certain": account(THERE, None, BALANCED, personal=(NOTHING, NOTHING), pushed=BOTH),
    "all alike": account(ALIKE, None, BALANCED, pushed=BOTH),
    "contradicted": account(REFUTED, None, BALANCED, pushed=BOTH),
    "personal part contradicted": account(THERE, None, BALANCED, personal=(THERE, REFUTED), pushed=BOTH),
    "not estimated": no_summary("they need outcome.scope=user"),
    "no account": None,
}
