"""Sections of a report that decisions rest on: other policies, how far to push, past experiments."""

from __future__ import annotations

from html import escape
from itertools import cycle
from textwrap import fill

import numpy as np

from reward.evaluation.assessment import Json
from reward.evaluation.drawing import (
    FOURTH,
    MODEL,
    MUTED,
    PAPER,
    SECOND,
    THIRD,
    bullets,
    canvas,
    cell_of,
    forest,
    legend,
    point,
    section,
    svg,
    tabled,
)
from reward.evaluation.policies import SHARES
from reward.evaluation.wording import places, readable

HOW_EARLY = "How early is early enough"


def other_policies(found: Json) -> str:
    """What other policies would have been worth, and the weights that say so."""
    lead = (
        "What an exposure would have brought more or less, had another policy filled its slot and all else been as it "
        "was: exposures of the test days, each weighted by how much likelier the other policy would have made it. "
        f"Policies that lean do so by about {found['divergence']:g} nats from what the day showed. On the right the "
        "weights: the share that the heaviest rows hold, on the dotted line if all rows are alike. Where few rows hold "
        "most of it, an estimate is theirs alone, and refused. A best guess may clip weights, which has less error on "
        "average and no honest interval that is shorter."
    )
    policies = [it["policy"] for it in found["weights"]]
    outcomes = list(dict.fromkeys(it["outcome"] for it in found["estimates"]))
    drawn = [name for at, name in enumerate(outcomes) if at == 0 or name == found["click"]]
    colours = dict(zip(policies, cycle((FOURTH, MODEL, SECOND, THIRD)), strict=False))
    figure, axes = canvas(1, len(drawn) + 1, 0.9 + 0.32 * max(len(policies), 4))
    for panel, outcome in zip(axes, drawn, strict=False):
        shown = {
            it["policy"]: it["change"] or {"value": None, "low": None, "high": None}
            for it in found["estimates"]
            if it["outcome"] == outcome
        }
        forest(panel, fill(outcome, 34), shown, colours.__getitem__, at=0)
        if panel is not axes[0]:
            panel.tick_params(labelleft=False)
    for it in found["weights"]:
        axes[-1].plot(SHARES, it["curve"], color=colours[it["policy"]], lw=1.6)
    axes[-1].plot(SHARES, SHARES, color=MUTED, lw=0.9, ls=":")
    axes[-1].set_xscale("log")
    axes[-1].set_title("share of the weight")
    axes[-1].set_xlabel("of the rows, the heaviest first")
    axes[-1].set_xticks([0.001, 0.01, 0.1, 1], ["0.1%", "1%", "10%", "100%"])
    axes[-1].minorticks_off()
    rests_on = [
        (it["policy"], [f"{it['effective_rows']:,.0f}", f"{it['top_share']:.0%}", cell_of(it["mean"], 2)])
        for it in found["weights"]
    ]
    weights = tabled(["policy", "effective rows", "weight of the heaviest 1%", "mean weight"], rests_on)
    came = {it["outcome"]: f"{it['ran']:.3g}" for it in found["estimates"]}
    changes = [
        (one, [came[one], *(_change_cell(it) for it in found["estimates"] if it["outcome"] == one)]) for one in outcomes
    ]
    worth = tabled(["an exposure brings more", "came", *policies], changes)
    picture = svg(figure, "other policies and their weights")
    return section("Other policies", lead, bullets(found["sentences"]), picture, worth, weights)


def _change_cell(estimate: Json) -> str:
    if estimate["change"] is None:
        return f"refused<small>{estimate['brief']}</small>"
    decimals, guess = places([estimate["change"]]), estimate["guess"]
    told = f"best guess {readable(guess['value'], decimals)}, {guess['estimator']}"
    return f"{cell_of(estimate['change'], decimals)}<small>{told}</small>"


def pushing(push: Json, unit: str) -> str:
    """How far a ranker may be pushed, by pessimism."""
    figure, axes = canvas(1, len(push), 3.0)
    for panel, (kappa, it) in zip(axes, push.items(), strict=True):
        at = it["divergence"]
        panel.plot(at, it["promised"], color=SECOND, lw=1.2, marker="o", ms=4, mec=PAPER, mew=0.8)
        for place, value, low, high in zip(at, it["kept"], it["low"], it["high"], strict=True):
            point(panel, place, {"value": value, "low": low, "high": high}, MODEL, across=False)
        panel.axhline(0, color=MUTED, lw=0.9)
        if it["limit"]:
            panel.axvline(it["limit"], color=MUTED, lw=0.9, ls=(0, (4, 3)))
        panel.set_title("on the mean" if float(kappa) == 0 else f"on the mean less {kappa} standard deviation")
        panel.set_xlabel("divergence from what was shown, nats")
        panel.locator_params(axis="y", nbins=5)
    axes[0].set_ylabel("gain an exposure")
    lead = (
        "A ranker that leans on rewards shows the best items more and more. What the rewards promise of it rises with "
        "every step; what users held out, whom the rewards had not seen, keep of it tells how far to go. "
        "The dashed line is the push whose gain is kept most surely: a recommended limit, none where no gain is "
        f"sure. Gains are {unit} an exposure."
    )
    marks = legend([(MODEL, "kept by users held out"), (SECOND, "promised")])
    picture = svg(figure, "promised and kept as a ranker is pushed")
    return section("How far a ranker may be pushed", lead, marks, picture)


def how_early(found: Json, star: str) -> str:
    """How often early days decide as the whole horizon does."""
    if found["reason"] is not None:
        return section(HOW_EARLY, f"Early days were not held against the end: {found['reason']}.")
    lead = (
        f"Would a test read after some days have been decided as it was on {star} after all {found['horizon']}? Up, "
        f"down or neither at {found['alpha']:.0%}, by what was seen so far and by surrogates, which add what is still "
        "to come. Tests that do nothing agree by doing nothing, and early days share their luck with the whole: read "
        "recall, the share of launches that would have been launched, beside it."
    )
    rows = found["agreement"]
    names = list(dict.fromkeys(it["surrogate"] for it in rows))
    colours = dict(zip(names, cycle((SECOND, MODEL, THIRD, FOURTH))))
    shown = {"consistent": "share of tests decided alike", "recall": "recall of launches", "precision": "precision"}
    figure, axes = canvas(1, len(shown), 2.9)
    for panel, (measure, title) in zip(axes, shown.items(), strict=True):
        for shift, name in enumerate(names):
            mine = [it for it in rows if (it["surrogate"], it["measure"]) == (name, measure)]
            at = [it["day"] + 0.012 * found["horizon"] * (shift - (len(names) - 1) / 2) for it in mine]
            values = [np.nan if it["value"] is None else it["value"] for it in mine]
            panel.plot(at, values, color=colours[name], lw=1.2, alpha=0.6)
            for place, it in zip(at, mine, strict=True):
                point(panel, place, it, colours[name], across=False)
        panel.set(title=title, xlabel="day", ylim=(0, 1.03))
        panel.grid(visible=False, axis="x")
    picture = svg(figure, "agreement of early days")
    marks = legend([(colours[name], name) for name in names])
    return section(HOW_EARLY, lead, bullets(found["sentences"]), marks, picture)


def past_experiments(found: Json) -> str:
    """What past A/B tests say of quick signals."""
    star = found["north_star"]
    lead = (
        f"Which quick signals foretell {star}, by past experiments: the weights with which effects on them foretell "
        "the effect on it, and how a proxy of these would have decided, each arm judged by weights of the others."
    )
    if found.get("left_out"):
        lead += f" Columns that are no numbers were left out: {', '.join(found['left_out'])}."
    if found["reason"] is not None:
        return section("Past experiments", lead, f"<p>Not told: {escape(found['reason'])}.</p>")
    weights = [
        (f"{it['method']}: {it['signal']}", [cell_of({"value": it["weight"], "low": it["low"], "high": it["high"]}, 3)])
        for it in found["weights"]
    ]
    measures = [(it["measure"], [cell_of(it, 2)]) for it in found["measures"]]
    figure, [axes] = canvas(1, 1, 3.0)
    for it in found["front"]:
        sensitivity, agreement = (
            {"value": it[name], "low": it[f"{name} low"], "high": it[f"{name} high"]}
            for name in ("sensitivity", "sign agreement")
        )
        colour = MODEL if it["front"] else FOURTH
        point(axes, agreement["value"], sensitivity, colour, across=True)
        point(axes, sensitivity["value"], agreement, colour, across=False)
        if it["name"] is not None:
            place = (sensitivity["value"], agreement["value"])
            axes.annotate(it["name"], place, (6, 6), textcoords="offset points")
    axes.set_title("sign agreement against sensitivity, with intervals; the front in colour, single signals by name")
    axes.set_xlabel(f"sensitivity, times that of {star}")
    axes.set_ylabel("sign agreement")
    told = f"<p>{found['arms']} arms of {found['experiments']} experiments.</p>"
    table = tabled([f"weight for {star}", "estimate"], weights)
    judged = tabled(["the proxy, JIVE weights", "estimate"], measures)
    return section("Past experiments", lead, told, table, judged, svg(figure, "sensitivity and agreement"))
