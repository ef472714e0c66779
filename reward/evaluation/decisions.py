"""Sections of a report that decisions rest on: other policies, how far to push, past experiments."""

from __future__ import annotations

from html import escape
from itertools import cycle
from textwrap import fill

from matplotlib.ticker import PercentFormatter

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
    point,
    section,
    svg,
    tabled,
)
from reward.evaluation.policies import SHARES
from reward.evaluation.wording import places


def other_policies(found: Json) -> str:
    """What other policies would have been worth, and the weights that say so."""
    lead = (
        "What an exposure would have brought more or less, had another policy filled its slot and all else been as it "
        "was: exposures of the test days, each weighted by how much likelier the other policy would have made it. "
        f"Policies that lean do so by about {found['divergence']:g} nats from what the day showed. On the right the "
        "weights: the share that the heaviest rows hold, on the dotted line if all rows are alike. Where few rows hold "
        "most of it, an estimate is theirs alone, and refused."
    )
    policies = [it["policy"] for it in found["weights"]]
    outcomes = list(dict.fromkeys(it["outcome"] for it in found["estimates"]))
    drawn = outcomes[:2]  # the value's own and what stands for a click
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
    axes[-1].xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    header = ["policy", "effective rows", "weight of the heaviest 1%", "mean weight", *outcomes]
    rows = [
        (
            it["policy"],
            [
                f"{it['effective_rows']:,.0f}",
                f"{it['top_share']:.0%}",
                cell_of(it["mean"], 2),
                *(_change_cell(one) for one in found["estimates"] if one["policy"] == it["policy"]),
            ],
        )
        for it in found["weights"]
    ]
    picture = svg(figure, "other policies and their weights")
    return section("Other policies", lead, bullets(found["sentences"]), picture, tabled(header, rows))


def _change_cell(estimate: Json) -> str:
    if estimate["change"] is None:
        return f"refused<small>{estimate['effective_rows']:.1f} effective rows of {estimate['rows']:,}</small>"
    return cell_of(estimate["change"], places([estimate["change"]])) + f"<small>{estimate['estimator']}</small>"


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
        "A ranker that leans on the effects of items shows the best of them more and more. What the effects promise of "
        "it rises with every step; what users held out, whom the effects had not seen, keep of it tells how far to go. "
        "The dashed line is the push whose gain is kept most surely: a recommended limit, none where no gain is "
        f"sure. Gains are {unit} an exposure."
    )
    marks = (("model", "kept by users held out"), ("second", "promised"))
    legend = "".join(f'<span><i style="background:var(--{name})"></i>{label}</span>' for name, label in marks)
    picture = svg(figure, "promised and kept as a ranker is pushed")
    return section("How far a ranker may be pushed", lead, f'<p class="legend">{legend}</p>', picture)


def past_experiments(found: Json) -> str:
    """What past A/B tests say of quick signals."""
    star = found["north_star"]
    lead = (
        f"Which quick signals foretell {star}, by past experiments: the weights with which effects on them foretell "
        "the effect on it, and how a proxy of these would have decided, each arm judged by weights of the others."
    )
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
