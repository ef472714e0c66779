"""What the drawings of a report share: the page's own colours, panels, points and intervals."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reward.evaluation.estimates import Estimate
from reward.report.blocks import Legend, Picture
from reward.report.text import places, readable

# Plots are drawn in stand-ins for the colours of the page, which follow the reader's light or dark scheme.
INK, MUTED, RULE, PAPER = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04"
MODEL, SECOND, THIRD, FOURTH = "#0a0a05", "#0a0a06", "#0a0a07", "#0a0a08"
COLOURS = {
    "ink": (INK, "#1b2430", "#e6eaef"),
    "muted": (MUTED, "#5d6875", "#9ba6b4"),
    "rule": (RULE, "#e2e6ea", "#2d3540"),
    "paper": (PAPER, "#fdfdfb", "#14181e"),
    "model": (MODEL, "#0b6e83", "#4fbcd2"),
    "second": (SECOND, "#c06a1f", "#e8a562"),
    "third": (THIRD, "#7757a6", "#b99ce6"),
    "fourth": (FOURTH, "#8792a0", "#76828f"),
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reward",
    "text.parse_math": False,
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-7, 7),
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
WIDTH = 10.0  # inches, which the page shows across its column


def legend(marks: Sequence[tuple[str, str]]) -> Legend:
    """What each colour means: stand-ins and labels."""
    names = {stand_in: name for name, (stand_in, *_) in COLOURS.items()}
    return Legend(tuple((names[colour], label) for colour, label in marks))


def picture(figure: Figure, label: str) -> Picture:
    """The drawing as part of a page: the page's fonts and colours, and ids of its own."""
    opening, _, drawing = drawn(figure).partition(">")
    (view_box,) = re.findall(r'viewBox="([^"]*)"', opening)
    drawing = drawing.strip().removesuffix("</svg>")
    key = re.sub(r"\W+", "-", label)
    drawing = re.sub(r'\bid="', f'id="{key}-', drawing)
    drawing = re.sub(r'(?:xlink:)?href="#', f'href="#{key}-', drawing).replace("url(#", f"url(#{key}-")
    for name, (stand_in, *_) in COLOURS.items():
        drawing = drawing.replace(stand_in, f"var(--{name})")
    return Picture(label, view_box, drawing)


def drawn(figure: Figure) -> str:
    """A figure as SVG, in stand-ins for the colours."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawing = file.getvalue()
    return drawing[drawing.index("<svg") :]


def in_light(figure: Figure) -> str:
    """A figure as a drawing of its own, in SVG, in the colours of a light page."""
    drawing = drawn(figure)
    for stand_in, light, _ in COLOURS.values():
        drawing = drawing.replace(stand_in, light)
    return drawing


def canvas(rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels as wide as the page, and so many inches high."""
    layout = ConstrainedLayoutEngine(wspace=0.06, hspace=0.08)
    figure = Figure(figsize=(WIDTH, height), layout=layout)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def point(axes: Axes, place: float, estimate: Estimate, colour: str, *, across: bool) -> None:
    """A dot on its interval, which lies across the plot or stands up in it."""
    if estimate.value is None:
        return
    dot = ([estimate.value], [place])
    if estimate.interval is not None:
        line = (list(estimate.interval), [place, place])
        axes.plot(*(line if across else line[::-1]), color=colour, lw=1.7, solid_capstyle="round")
    axes.plot(*(dot if across else dot[::-1]), "o", color=colour, ms=5.5, mec=PAPER, mew=0.8)


def forest(
    axes: Axes, title: str, estimates: Mapping[str, Estimate], colour: Callable[[str], str], *, at: float | None
) -> None:
    """One interval a line, its value at the right, against a vertical line ``at``."""
    decimals = places(estimates.values())
    if at is not None:
        axes.axvline(at, color=MUTED, lw=0.9)
    for place, (name, estimate) in enumerate(estimates.items()):
        point(axes, place, estimate, colour(name), across=True)
        axes.annotate(
            readable(estimate.value, decimals),
            (1, place),
            (5, 0),
            axes.get_yaxis_transform(),
            "offset points",
            va="center",
        )
    axes.set_yticks(range(len(estimates)), list(estimates), color=INK)
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    axes.set_title(title)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=5)
