"""What the sections of a report are made of: headings, lists, tables and drawings in the page's own colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reward.text import Estimate, places, readable

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
_NUMBERS = r"\([^()]*interval[^()]*\)"  # in a sentence: set back, so that the statement stands out


def section(heading: str, lead: str, *blocks: str) -> str:
    """A heading, what is shown under it, and blocks of HTML."""
    return f'<section><h2>{escape(heading)}</h2><p class="lead">{escape(lead)}</p>{"".join(blocks)}</section>'


def bullets(sentences: Sequence[str]) -> str:
    """Sentences as a list; their intervals are set back."""
    lines = (re.sub(_NUMBERS, r"<span>\g<0></span>", escape(it)) for it in sentences)
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def legend(marks: Sequence[tuple[str, str]]) -> str:
    """What each colour stands for: stand-ins and labels."""
    names = {stand_in: name for name, (stand_in, *_) in COLOURS.items()}
    shown = (f'<i style="background:var(--{names[colour]})"></i>{escape(label)}' for colour, label in marks)
    return f'<p class="legend">{"".join(f"<span>{mark}</span>" for mark in shown)}</p>'


def tabled(header: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], model: str = "") -> str:
    """Rows of cells that are HTML, each under the name of its row."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        f'<tr{" class=model" if name == model else ""}><th scope="row">{escape(name)}</th>'
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cells_of(estimates: Sequence[Estimate | None]) -> list[str]:
    """Values above their intervals, a column of a table."""
    decimals = places(it for it in estimates if it)
    return [cell_of(it, decimals) for it in estimates]


def cell_of(estimate: Estimate | None, decimals: int) -> str:
    """A value above its interval, or a dash."""
    if not estimate or estimate["value"] is None:
        return "–"
    value, low, high = (readable(estimate[end], decimals) for end in ("value", "low", "high"))
    span = "no interval" if estimate["low"] is None else f"{low} to {high}"
    return f"{value}<small>{span}</small>"


def rows_of(names: Sequence[str], columns: Sequence[Sequence[Estimate | None]]) -> list[tuple[str, Sequence[str]]]:
    """Columns of estimates as rows of `tabled`, a name each."""
    return list(zip(names, zip(*map(cells_of, columns), strict=True), strict=True))


def per_cent(estimate: Estimate | None) -> Estimate | None:
    """A share as an estimate of a hundred times as much."""
    if estimate is None:
        return None
    return {end: None if estimate[end] is None else 100 * estimate[end] for end in ("value", "low", "high")}


def svg(figure: Figure, label: str) -> str:
    """The drawing as part of a page: the page's fonts and colours, and ids of its own."""
    drawing = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{escape(label)}">',
        drawn(figure),
    )
    key = re.sub(r"\W+", "-", label)
    drawing = re.sub(r'\bid="', f'id="{key}-', drawing)
    drawing = re.sub(r'(?:xlink:)?href="#', f'href="#{key}-', drawing).replace("url(#", f"url(#{key}-")
    for name, (stand_in, *_) in COLOURS.items():
        drawing = drawing.replace(stand_in, f"var(--{name})")
    return f'<div class="wide">{drawing}</div>'


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
    if estimate["value"] is None:
        return
    line, dot = ([estimate["low"], estimate["high"]], [place, place]), ([estimate["value"]], [place])
    if estimate["low"] is not None:
        axes.plot(*(line if across else line[::-1]), color=colour, lw=1.7, solid_capstyle="round")
    axes.plot(*(dot if across else dot[::-1]), "o", color=colour, ms=5.5, mec=PAPER, mew=0.8)


def forest(
    axes: Axes, title: str, estimates: dict[str, Estimate], colour: Callable[[str], str], *, at: float | None
) -> None:
    """One interval a line, its value at the right, against a vertical line ``at``."""
    decimals = places(estimates.values())
    if at is not None:
        axes.axvline(at, color=MUTED, lw=0.9)
    for place, (name, estimate) in enumerate(estimates.items()):
        point(axes, place, estimate, colour(name), across=True)
        axes.annotate(
            readable(estimate["value"], decimals),
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
