"""Sections of a report on values and rewards: how they move, how they are spread, and what they claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.causal.diagnostics.summary import no_push
from reward.evaluation.estimates import Json
from reward.report.blocks import Block, Heading, Row, Section, bullets, cells_of, section, tabled
from reward.report.drawing import FOURTH, INK, MODEL, MUTED, PAPER, canvas, picture, point
from reward.text import places, readable


def ledger_section(assessment: Json) -> Section:
    """How values move with an exposure and its feedback."""
    ledger, unit, feedback = assessment["ledger"], assessment["unit"], assessment["feedback"]
    steps, groups = [it for it in ledger["steps"] if it["sd"] is not None], ledger["surprise"]
    figure, axes = canvas(1, 2 if groups else 1, 2.9)
    axes[0].axvline(0, color=MUTED, lw=0.9)
    for place, it in enumerate(steps):
        spread = it["quantiles"]
        for low, high, thick, alpha in (("0.05", "0.95", 2, 0.55), ("0.25", "0.75", 9, 0.4)):
            axes[0].plot(
                [spread[low], spread[high]], [place] * 2, color=MODEL, lw=thick, alpha=alpha, solid_capstyle="butt"
            )
        axes[0].plot(it["value"], place, "o", color=MODEL, mec=PAPER, ms=6)
    axes[0].set_yticks(range(len(steps)), [it["step"] for it in steps], color=INK)
    axes[0].set_ylim(len(steps) - 0.5, -0.5)
    axes[0].set_title("mean, middle half and middle 90% of the rows")
    axes[0].set_xlabel(unit)
    axes[0].grid(visible=False, axis="y")
    for panel in axes[1:]:
        panel.axhline(0, color=MUTED, lw=0.9)
        for it in groups:
            point(panel, it["rate"], it, MODEL, across=False)
        panel.set_title("mean surprise by the item's click rate")
        panel.set_xlabel(f"the item's mean {feedback} among other users")
        panel.grid(visible=False, axis="x")
    sds = places([{"low": 0, "high": it["sd"]} for it in steps])
    rows: list[Row] = [
        (it["step"], [f"{it['rows']:,}", mean, readable(it["sd"], sds)])
        for it, mean in zip(ledger["steps"], cells_of(ledger["steps"]), strict=True)
    ]
    lead = (
        "From one feedback to the next the value moves in three steps: arrival (the user came back), "
        "exposure (this item rather than another) and surprise (what the feedback revealed). A good model "
        "is not surprised on average, whatever the item's click rate: the dots on the right should lie on "
        "zero."
    )
    table = tabled(["step", "rows", f"mean ({unit})", "standard deviation"], rows)
    return section("The ledger", lead, bullets(ledger["sentences"]), picture(figure, "the ledger"), table)


def reward_section(assessment: Json, effects: Mapping[str, Any] | None) -> Section:
    """How rewards are spread, and what they go with."""
    reward, unit = assessment["reward"], assessment["unit"]
    figure, axes = canvas(1, 2, 2.7)
    titles = ("reward", "its standard deviation")
    for panel, title, it, colour in zip(axes, titles, (reward, reward["std"]), (MODEL, FOURTH), strict=True):
        panel.stairs(it["histogram"]["counts"], it["histogram"]["edges"], fill=True, color=colour, alpha=0.75)
        panel.set_title(f"{title}, middle 99% of the rows")
        panel.set_xlabel(unit)
        panel.set_yticks([])
        panel.grid(visible=False, axis="y")
    axes[0].axvline(0, color=MUTED, lw=0.9)
    axes[1].set_xlim(left=0)
    quantiles = list(reward["quantiles"])
    decimals = places([{"low": reward["quantiles"]["0.25"], "high": reward["quantiles"]["0.75"]}])
    rows = [
        (title, [readable(number, decimals) for number in (it["mean"], it["sd"], *it["quantiles"].values())])
        for title, it in zip(titles, (reward, reward["std"]), strict=True)
    ]
    lead = (
        "How large rewards are, against how sure one can be of them, and whether the reward is more "
        "than clickability: a correlation with click rate near 1 or −1 would say that it is not."
    )
    why = None if not effects or assessment["ledger"]["reward_is_exposure"] else no_push(effects)
    doubt = [] if why is None else [f"Do not act on these rewards, whatever their standard deviations say: {why}."]
    header = [unit, "mean", "sd", *(f"{100 * float(q):g}%" for q in quantiles)]
    return section(
        "The reward", lead, bullets([*doubt, *reward["sentences"]]), picture(figure, "the reward"), tabled(header, rows)
    )


def claims(assessment: Json) -> Section:
    """What a reward of this kind claims, and what it does not."""
    said = [
        "The reward here is the exposure step: what the model expects of users who were shown this item, "
        "minus what it expects of users in the same state who were shown anything. It is a difference of "
        "predictions, not a causal effect: an item shown to users who would have come back anyway is credited with "
        "it, as far as the state does not know them."
        if assessment["ledger"]["reward_is_exposure"]
        else "The reward here is the effect of showing the item, estimated from the log's own randomness. It is causal "
        "as far as the propensities are right; the effects of showing items, above, say where these come from, whether "
        "they balance the log, and whether held-out users confirm the rewards.",
        "Log-loss judges the prediction, not the reward: true effects of single items are too small to "
        "show in it. A better log-loss is no proof of better rewards, and a ranker has to be tested in an experiment "
        "or against logged propensities.",
        "The intervals resample the users of this log. They say what other users would have changed, not "
        "other weeks, another logging policy or another training run.",
        "Surprise without a trend in click rate is what a good model must show; it is not all that one must show.",
    ]
    lead = "What was measured is how well the outcome is predicted and how the reward behaves, no more."
    notes: list[Block] = [Heading("Not computed"), bullets(assessment["notes"])] if assessment["notes"] else []
    return section("What this can and cannot claim", lead, bullets(said), *notes)
