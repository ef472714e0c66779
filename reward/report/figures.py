"""Pictures that stand alone."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from reward.evaluation.findings import Evaluation
from reward.evaluation.simulated_truth import CLICK_RATE, EFFECT, REWARD
from reward.report.drawing import (
    MODEL,
    MUTED,
    PAPER,
    SECOND,
    STYLE,
    canvas,
    in_light,
)
from reward.report.text import readable

_LONG = 10_000  # a number that is written with a letter


def truth_picture(evaluation: Evaluation, items: pl.DataFrame) -> str:
    """Clicks and the learned reward against the truth as a drawing of its own, in SVG on paper white."""
    with matplotlib.rc_context(STYLE | {"figure.facecolor": PAPER, "svg.fonttype": "path"}):
        return in_light(against_truth(evaluation, items))


def distributions_picture(panels: Sequence[tuple[str, str, pl.DataFrame]], *, title: str) -> str:
    """Predicted distributions of one user's outcomes as a drawing of its own, in SVG on paper white.

    Args:
        panels: of each outcome its name, what is counted and a frame with ``outcome`` and ``probability``.
        title: of the drawing.
    """
    with matplotlib.rc_context(STYLE | {"figure.facecolor": PAPER, "svg.fonttype": "path"}):
        figure, axes = canvas(1, len(panels), 3.2)
        figure.suptitle(title)
        for panel, (name, what, frame) in zip(axes, panels, strict=True):
            outcome, probability = frame["outcome"].to_numpy(), frame["probability"].to_numpy()
            at = np.arange(len(outcome))
            panel.bar(at, probability, color=MODEL, width=0.8)
            shown = at[:: max(len(at) // (3 if outcome.max() >= _LONG else 6), 1)]
            panel.set_xticks(shown, [_short(outcome[place]) for place in shown])
            panel.set_title(f"{name}: mean {_short(float(outcome @ probability))}")
            panel.set_xlabel(what)
            panel.grid(visible=False, axis="x")
        axes[0].set_ylabel("probability")
        return in_light(figure)


def _short(number: float) -> str:
    """Three digits, with thousands and millions as letters."""
    return str(EngFormatter(places=1, sep="")(number)) if number >= _LONG else f"{number:.3g}"


def against_truth(evaluation: Evaluation, items: pl.DataFrame) -> Figure:
    """Click rate and learned reward of each item against its true effect."""
    found, unit, click = evaluation.truth, evaluation.unit, evaluation.click
    effect = items[EFFECT].to_numpy()
    rate = {} if click is None else {"click rate": (items[CLICK_RATE].to_numpy(), SECOND, f"mean {click} of the item")}
    shown = rate | {
        "learned reward": (items[REWARD].to_numpy(), MODEL, f"learned reward, {unit}"),
    }
    figure, axes = canvas(1, len(shown), 3.6)
    for panel, (name, (values, colour, label)) in zip(axes, shown.items(), strict=True):
        panel.scatter(effect, values, s=13, color=colour, alpha=0.65, linewidths=0)
        value = readable(None if found is None else found.correlation[name].value, 2)
        panel.set_title(f"{name}: correlation with the truth {value}")
        panel.set_xlabel(f"what showing the item once truly does, {unit}")
        panel.set_ylabel(label)
        panel.axvline(0, color=MUTED, lw=0.9)
    axes[-1].axhline(0, color=MUTED, lw=0.9)
    if len(effect):
        shift = float(items[REWARD].mean()) - float(effect.mean())  # type: ignore[arg-type]
        axes[-1].axline((0, shift), slope=1, color=MUTED, lw=0.9, ls=(0, (4, 3)))
    return figure
