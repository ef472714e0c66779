"""Sections of a report on values and rewards: how they change, how they are distributed, and what they claim."""

from __future__ import annotations

from reward.causal.diagnostics.summary import EffectSummary, no_push
from reward.evaluation.estimates import Estimate
from reward.evaluation.findings import Evaluation
from reward.report.blocks import Block, Heading, Row, Section, bullets, cells_of, section, tabled
from reward.report.drawing import FOURTH, INK, MODEL, MUTED, PAPER, canvas, picture, point
from reward.report.sentences import decomposition_sentences, missing_sentence, reward_sentences
from reward.report.text import places, readable


def decomposition_section(evaluation: Evaluation) -> Section:
    """How values change with an exposure and its feedback."""
    found, unit = evaluation.decomposition, evaluation.unit
    steps, groups = [it for it in found.steps if it.spread.sd is not None], found.surprise_by_rate
    figure, axes = canvas(1, 2 if groups else 1, 2.9)
    axes[0].axvline(0, color=MUTED, lw=0.9)
    for place, it in enumerate(steps):
        of = [it.spread.quantiles[share] or 0.0 for share in (0.05, 0.95, 0.25, 0.75)]
        for ends, thick, alpha in ((of[:2], 2, 0.55), (of[2:], 9, 0.4)):
            axes[0].plot(ends, [place] * 2, color=MODEL, lw=thick, alpha=alpha, solid_capstyle="butt")
        axes[0].plot(it.mean.value or 0.0, place, "o", color=MODEL, mec=PAPER, ms=6)
    axes[0].set_yticks(range(len(steps)), [it.name for it in steps], color=INK)
    axes[0].set_ylim(len(steps) - 0.5, -0.5)
    axes[0].set_title("mean, middle half and middle 90% of the rows")
    axes[0].set_xlabel(unit)
    axes[0].grid(visible=False, axis="y")
    for panel in axes[1:]:
        panel.axhline(0, color=MUTED, lw=0.9)
        for group in groups:
            point(panel, group.rate, group.surprise, MODEL, across=False)
        panel.set_title("mean surprise by the item's click rate")
        panel.set_xlabel(f"the item's mean {evaluation.click} among other users")
        panel.grid(visible=False, axis="x")
    sds = places(Estimate(0.0, 0.0, it.spread.sd) for it in steps)
    rows: list[Row] = [
        (it.name, [f"{it.rows:,}", mean, readable(it.spread.sd, sds)])
        for it, mean in zip(found.steps, cells_of([it.mean for it in found.steps]), strict=True)
    ]
    lead = (
        "From one feedback to the next the value changes in three steps: arrival (the user came back), exposure (this "
        "item was shown and not another) and surprise (what the feedback revealed). The mean surprise of a good model "
        "is zero at every click rate: the dots on the right should lie on the line."
    )
    said = decomposition_sentences(evaluation)
    table = tabled(["step", "rows", f"mean ({unit})", "standard deviation"], rows)
    return section("Value decomposition", lead, bullets(said), picture(figure, "value decomposition"), table)


def reward_section(evaluation: Evaluation, effects: EffectSummary | None) -> Section:
    """How rewards are distributed, and whether they follow the click rate."""
    unit, both = evaluation.unit, (evaluation.reward.reward, evaluation.reward.std)
    figure, axes = canvas(1, 2, 2.7)
    titles = ("reward", "its standard deviation")
    for panel, title, it, colour in zip(axes, titles, both, (MODEL, FOURTH), strict=True):
        panel.stairs(it.histogram.counts, it.histogram.edges, fill=True, color=colour, alpha=0.75)
        panel.set_title(f"{title}, middle 99% of the rows")
        panel.set_xlabel(unit)
        panel.set_yticks([])
        panel.grid(visible=False, axis="y")
    axes[0].axvline(0, color=MUTED, lw=0.9)
    axes[1].set_xlim(left=0)
    quantiles = both[0].spread.quantiles
    decimals = places([Estimate(0.0, quantiles[0.25], quantiles[0.75])])
    rows = [
        (title, [readable(number, decimals) for number in (it.mean, it.spread.sd, *it.spread.quantiles.values())])
        for title, it in zip(titles, both, strict=True)
    ]
    lead = (
        "How large rewards are, how uncertain they are, and whether they say more than the click rate: a correlation "
        "with it near 1 or −1 would mean that they do not."
    )
    why = None if effects is None or evaluation.decomposition.reward_is_exposure else no_push(effects)
    doubt = [] if why is None else [f"Do not act on these rewards, whatever their standard deviations say: {why}."]
    header = [unit, "mean", "sd", *(f"{100 * share:g}%" for share in quantiles)]
    table = tabled(header, rows)
    said = bullets([*doubt, *reward_sentences(evaluation)])
    return section("The reward", lead, said, picture(figure, "the reward"), table)


def claims(evaluation: Evaluation) -> Section:
    """What a reward of this kind claims, and what it does not."""
    said = [
        "The reward here is the exposure step: what the model expects of users who were shown this item, minus what "
        "it expects of users in the same state who were shown any item. It is a difference of predictions and not a "
        "causal effect. An item that was shown to users who would have come back anyway gets credit for that, unless "
        "the state shows that they would."
        if evaluation.decomposition.reward_is_exposure
        else "The reward here is the effect of showing the item, estimated from the log's own randomness. It is causal "
        "as far as the propensities are right. The section on effects of showing items says where propensities come "
        "from, whether they balance the log, and whether held-out users confirm the rewards.",
        "Log-loss measures the prediction and not the reward: true effects of single items are too small to change "
        "it. A better log-loss is no proof of better rewards. Test a ranker in an experiment, or with logged "
        "propensities.",
        "The intervals resample the users of this log. They cover other users, but not other weeks, another logging "
        "policy or another training run.",
        "Surprise without a trend in click rate is necessary for a good model, and not sufficient.",
    ]
    lead = "This report measures how well the outcome is predicted and how rewards are distributed, and nothing else."
    notes: list[Block] = []
    if evaluation.missing:
        notes = [Heading("Not computed"), bullets(missing_sentence(it) for it in evaluation.missing)]
    return section("What this can and cannot claim", lead, bullets(said), *notes)
