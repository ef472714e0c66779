"""An assessment for people: one self-contained page, legible on light and on dark screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any

import matplotlib
import polars as pl

from reward.evaluation.auxiliary_tasks import further_sentences
from reward.evaluation.estimates import Json
from reward.report.drawing import (
    COLOURS,
    STYLE,
    bullets,
    section,
    svg,
)
from reward.report.figures import against_truth
from reward.report.model_sections import (
    by_day,
    claims,
    further_outcomes,
    gains_table,
    ledger_section,
    reliability,
    return_time,
    reward_section,
    slices_section,
)
from reward.report.sections import how_early, other_policies, past_experiments, pushing, what_items_do
from reward.report.summary import HEADS, in_short
from reward.text import interval_name

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root{$light}
@media(prefers-color-scheme:dark){:root{$dark}}
$style
</style>
</head>
<body><main>
<header><h1>$title</h1><dl>$facts</dl></header>
$sections
</main></body>
</html>
""")

_CSS = """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:66rem;margin:0 auto;padding:3.5rem 1.5rem 5rem}
h1{font-size:2rem;line-height:1.2;letter-spacing:-.02em;margin:0 0 1.4rem}
h2{font-size:1.25rem;letter-spacing:-.01em;margin:0 0 .5rem}
section{margin-top:3.2rem;padding-top:1.6rem;border-top:1px solid var(--rule)}
p,li{max-width:46rem}
p{margin:.4rem 0 .9rem}
.lead{color:var(--muted)}
ul{padding-left:1.1rem;margin:.6rem 0}
li{margin:.4rem 0}
li::marker{color:var(--model)}
li span{color:var(--muted);font-size:.9em;font-variant-numeric:tabular-nums}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:1rem 1.5rem;margin:0}
dt{color:var(--muted);font-size:.8rem}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.wide{overflow-x:auto;margin:1.2rem 0}
svg{display:block;width:100%;min-width:40rem;height:auto;overflow:visible}
svg text{font-family:system-ui,-apple-system,"Segoe UI",sans-serif;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.45rem .6rem;text-align:right;vertical-align:top;white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;font-size:.85rem;max-width:none;margin:1.2rem 0 -.4rem}
.legend i{display:inline-block;width:.65rem;height:.65rem;border-radius:50%;margin-right:.45rem}
thead th{white-space:normal;color:var(--muted);font-weight:500;vertical-align:bottom}
tbody tr{border-top:1px solid var(--rule)}
tbody th{font-weight:400}
tr.model th{font-weight:600;color:var(--model)}
h3{font-size:1rem;margin:1.8rem 0 0}
.warning{border-left:3px solid var(--second);padding:.1rem 0 .1rem .9rem}
small{display:block;color:var(--muted);font-size:.75rem}
"""


def report(
    assessment: Json,
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    items: pl.DataFrame | None = None,
    effects: Mapping[str, Any] | None = None,
    forecast: Mapping[str, Any] | None = None,
) -> str:
    """Write an assessment as an HTML page without scripts, links or anything to load.

    Args:
        assessment: what `assess` returned, also after a round trip through JSON.
        title: of the page.
        facts: labels and values shown under the title, such as the log, the split and the commit.
        items: what was learned of items beside what they truly do, where ``assessment["truth"]`` is of them.
        effects: the account of effects that the artefact keeps; None or empty: there is none.
        forecast: what it says of what training gained over past activity; None: training did not start there.

    Returns:
        The page.

    """
    span = interval_name(assessment["level"])
    sizes = [(name, f"{assessment[name]:,}") for name in ("rows", "users", "items")]
    shown = [
        *facts,
        *(("test " + name, size) for name, size in sizes),
        ("horizon", f"{assessment['horizon_days']} days"),
        ("intervals", f"{100 * assessment['level']:.4g}%, {assessment['resamples']} resamples of users"),
    ]
    tested = assessment.get("experiments")
    with matplotlib.rc_context(STYLE):
        sections = [
            _in_short(assessment, effects, forecast),
            what_items_do(effects),
            _in_words(assessment, forecast),
            "" if items is None else _truth(assessment, items),
            gains_table(assessment, span),
            by_day(assessment),
            reliability(assessment),
            return_time(assessment),
            slices_section(assessment),
            further_outcomes(assessment),
            ledger_section(assessment),
            reward_section(assessment, effects),
            other_policies(assessment["policies"], effects) if "policies" in assessment else "",
            pushing(effects, assessment["unit"]),
            past_experiments(tested) if tested else "",
            how_early(tested["early"], tested["north_star"]) if tested and tested["early"] else "",
            claims(assessment),
        ]
    light, dark = (";".join(f"--{name}:{shades[at]}" for name, shades in COLOURS.items()) for at in (1, 2))
    listed = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(str(value))}</dd></div>" for label, value in shown)
    return _PAGE.substitute(
        title=escape(title), light=light, dark=dark, style=_CSS, facts=listed, sections="".join(sections)
    )


def sentences(assessment: Json) -> list[str]:
    """What leaks, what carries the prediction, the model against its rivals and against the truth where it is known."""
    leaks, further = assessment.get("canary", {}).get("sentences", []), further_sentences(assessment.get("further", {}))
    return [*leaks, *assessment["carry"]["sentences"], *further, *assessment.get("truth", {}).get("sentences", [])]


def _in_short(assessment: Json, effects: Mapping[str, Any] | None, forecast: Mapping[str, Any] | None) -> str:
    said = "".join(
        f"<p><strong>{head}.</strong> {escape(text[0].upper() + text[1:])}</p>"
        for head, text in zip(HEADS, in_short(assessment, effects, forecast), strict=True)
    )
    return section("In short", "What this run found, and what to do next. Each sentence holds for its interval.", said)


def _in_words(assessment: Json, forecast: Mapping[str, Any] | None) -> str:
    gained = [] if forecast is None else [forecast["sentence"]]
    return section(
        "Forecasts in words",
        "What carries the forecasts. Where an interval covers zero, this log cannot tell the two apart.",
        bullets([*gained, *sentences(assessment)]),
    )


def _truth(assessment: Json, items: pl.DataFrame) -> str:
    """Where the log is a simulated world's."""
    lead = (
        "This log is simulated, so what showing an item once truly does to active days is known: the same visits were "
        "lived again with and without it, with the same luck. Each dot is an item."
    )
    picture = svg(against_truth(assessment, items), "against the truth")
    return section("Against the truth", lead, bullets(assessment["truth"]["sentences"]), picture)
