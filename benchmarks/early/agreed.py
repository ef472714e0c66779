"""Rows of what is decided early, beside the decisions at the full horizon and the truth."""

from __future__ import annotations

import numpy as np
from harness import result_row

from reward.experiments.early_readout import agreement, launch_decisions

LEVEL, ALPHA = 0.95, 0.05
OUTCOME = "outcome"
PEERS = {"consistent": {"Netflix, 14 of 63 days": 0.95}, "recall": {"Netflix, 14 of 63 days": 0.79}}


def told_agreement(what, effects, truth, days, *, resamples, cluster=None, peer_day=None):
    """Rows of decisions on each of the days, and of the effects beside the true ones."""
    outcome, surrogates = effects[OUTCOME], {name: it for name, it in effects.items() if name != OUTCOME}
    group = np.arange(len(truth)) if cluster is None else cluster
    worthless, up = truth <= 0, launch_decisions(outcome, alpha=ALPHA) > 0
    rows = [
        result_row(what, "tests", int(group.max()) + 1),
        result_row(what, "up at the full horizon", up.mean()),
        result_row(what, "down at the full horizon", (launch_decisions(outcome, alpha=ALPHA) < 0).mean()),
        result_row(what, "launched at the full horizon, of the truly worthless", up[worthless].mean()),
    ]
    settings = {"alpha": ALPHA, "resamples": resamples, "seed": 0, "level": LEVEL}
    found = agreement(outcome, surrogates, days, cluster=group, **settings)
    for told in found.iter_rows(named=True):
        peers = PEERS.get(told["measure"], {}) if told["day"] == peer_day else {}
        metric = f"{told['measure']}, {told['surrogate']}, day {told['day']}"
        se = None if told["low"] is None else (told["high"] - told["low"]) / (2 * 1.96)
        rows.append(result_row(what, metric, told["value"], se, peers))
    for name, its in surrogates.items():
        wrong = launch_decisions(its, alpha=ALPHA)[worthless] > 0
        for column, day in enumerate(days):
            rows.append(
                result_row(what, f"launched, of the truly worthless, {name}, day {day}", wrong[:, column].mean())
            )
    return rows


def told_error(what, effect, truth, label, *, resamples):
    """Rows of estimated effects (tests,) against the true ones: error in units of these, slope, correlation."""
    drawn = np.random.default_rng(0).integers(len(truth), size=(resamples, len(truth)))

    def measures(which):
        estimate, true = effect[which], truth[which]
        level = np.sqrt(np.mean(true**2, axis=-1))
        slope = (estimate * true).sum(-1) / (true**2).sum(-1)
        return np.sqrt(np.mean((estimate - true) ** 2, axis=-1)) / level, slope

    rows = []
    names = ("error over root mean square of true effects", "slope on true effects")
    for name, value, draws in zip(names, measures(np.arange(len(truth))), measures(drawn), strict=True):
        rows.append(result_row(what, f"{name}, {label}", value, draws.std()))
    return rows
