"""Sections of a report that decisions rest on: effects, other policies, how far to lean, past experiments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes

from reward.causal.diagnostics.summary import EffectSummary, ShiftCurve, Verdict, no_push, verdict
from reward.evaluation.early_readout import EarlyReadout
from reward.evaluation.estimates import Estimate
from reward.evaluation.past_experiments import Combination, PastExperiments
from reward.evaluation.policy_values import SHARES, PolicyEstimate, PolicyValues
from reward.report.blocks import Cell, Paragraph, Row, Section, bullets, cell_of, section, tabled
from reward.report.drawing import FOURTH, MODEL, MUTED, PAPER, SECOND, THIRD, canvas, forest, legend, picture, point
from reward.report.sentences import early_sentences, policy_sentences
from reward.report.text import places, readable
from reward.scoring.effect_sentences import effect_sentences

HOW_EARLY, PUSH, EFFECTS = "How early is early enough", "How far to lean on rewards", "Effects of showing items"


def what_items_do(effects: EffectSummary | None) -> Section:
    """What was found of effects, the warning first, and how far to believe it."""
    lead = (
        "What showing an item changes, estimated from the log's own randomness. Two checks say whether to believe it: "
        "whether held-out users confirm it, and whether users who were shown an item resemble those who could have "
        "been."
    )
    if effects is None:
        return section(EFFECTS, lead, Paragraph("The artefact keeps no summary of effects."))
    warned = [Paragraph(effects.warning, strong="Warning.", warning=True)] if effects.warning else []
    said = Paragraph(strong=f"Verdict: {verdict(effects)}.")
    return section(EFFECTS, lead, *warned, said, bullets(effect_sentences(effects)))


def _doubts(effects: EffectSummary | None) -> list[str]:
    """Why not to decide by off-policy estimates."""
    doubts = []
    if effects is not None and effects.flagged:
        doubts.append(
            "The propensities behind these estimates fail their balance check (see the effects of showing items): do "
            "not decide by them."
        )
    if effects is not None and (why := no_push(effects)) is not None:
        doubts.append(f"A gain of leaning on the reward is no reason to lean on rewards: {why}.")
    return doubts


def other_policies(found: PolicyValues, effects: EffectSummary | None = None) -> Section:
    """What other policies would have been worth, and the weights that say so."""
    lead = (
        "How much more or less an exposure would have brought if another policy had filled its slot and all else had "
        "stayed as it was. Exposures of the test days are weighted by their probability under that policy over their "
        f"propensity. Policies that lean are about {found.divergence:g} nats away from what the day showed. The right "
        "panel shows the share of the weight that the heaviest rows have; on the dotted line all rows weigh the same. "
        "An estimate is refused where few rows have most of the weight. The best guess may clip weights: its error is "
        "smaller on average, but its interval would not be valid."
    )
    policies, outcomes = [it.policy for it in found.weights], found.outcomes
    drawn = [name for at, name in enumerate(outcomes) if at == 0 or name == found.click]
    colours = dict(zip(policies, cycle((FOURTH, MODEL, SECOND, THIRD)), strict=False))
    figure, axes = canvas(1, len(drawn) + 1, 0.9 + 0.32 * max(len(policies), 4))
    for panel, outcome in zip(axes, drawn, strict=False):
        shown = {it.policy: it.change or Estimate() for it in found.estimates if it.outcome == outcome}
        forest(panel, fill(outcome, 34), shown, colours.__getitem__, at=0)
        if panel is not axes[0]:
            panel.tick_params(labelleft=False)
    for it in found.weights:
        axes[-1].plot(SHARES, it.curve, color=colours[it.policy], lw=1.6)
    axes[-1].plot(SHARES, SHARES, color=MUTED, lw=0.9, ls=":")
    axes[-1].set_xscale("log")
    axes[-1].set_title("share of the weight")
    axes[-1].set_xlabel("of the rows, the heaviest first")
    axes[-1].set_xticks([0.001, 0.01, 0.1, 1], ["0.1%", "1%", "10%", "100%"])
    axes[-1].minorticks_off()
    rests_on: list[Row] = [
        (it.policy, [f"{it.effective_sample_size:,.0f}", f"{it.top_share:.0%}", cell_of(it.mean, 2)])
        for it in found.weights
    ]
    weights = tabled(["policy", "effective sample size", "weight of the heaviest 1%", "mean weight"], rests_on)
    came = {it.outcome: f"{it.ran:.3g}" for it in found.estimates}
    changes: list[Row] = [
        (one, [came[one], *(_change_cell(it) for it in found.estimates if it.outcome == one)]) for one in outcomes
    ]
    worth = tabled(["change an exposure", "as it was", *policies], changes)
    drawing = picture(figure, "other policies and their weights")
    said = bullets([*_doubts(effects), *policy_sentences(found)])
    return section("Other policies", lead, said, drawing, worth, weights)


def _change_cell(estimate: PolicyEstimate) -> Cell:
    change, guess = estimate.change, estimate.guess
    if change is None or guess is None:
        return Cell("refused", (estimate.brief or "",))
    decimals = places([change])
    found = cell_of(change, decimals)
    return replace(found, notes=(*found.notes, f"best guess {readable(guess.value, decimals)}, {guess.estimator}"))


def shifts_to_show(effects: EffectSummary | None) -> Mapping[str, ShiftCurve] | None:
    """How far a ranker can lean on rewards, by pessimism; None where that was not looked at, or none should."""
    if effects is None or not effects.policy_shifts or no_push(effects) is not None:
        return None
    return {kappa: it for kappa, it in effects.policy_shifts.items() if it.divergence} or None


def how_far_to_lean(effects: EffectSummary | None, unit: str) -> Section | None:
    """How far a ranker can lean on rewards, by pessimism; None where none should, or it was not looked at."""
    push = shifts_to_show(effects)
    if push is None:
        return None
    figure, axes = canvas(1, len(push), 3.0)
    for panel, (kappa, it) in zip(axes, push.items(), strict=True):
        panel.plot(it.divergence, it.predicted, color=SECOND, lw=1.2, marker="o", ms=4, mec=PAPER, mew=0.8)
        for place, *ends in zip(it.divergence, it.realized, it.low, it.high, strict=True):
            point(panel, place, Estimate(*ends), MODEL, across=False)
        panel.axhline(0, color=MUTED, lw=0.9)
        if it.limit:
            panel.axvline(it.limit, color=MUTED, lw=0.9, ls=(0, (4, 3)))
        panel.set_title("by the mean reward" if float(kappa) == 0 else f"by the mean minus {kappa} standard deviation")
        panel.set_xlabel("KL divergence from what was shown, nats")
        panel.locator_params(axis="y", nbins=5)
    axes[0].set_ylabel("gain an exposure")
    advice = (
        "a recommended limit"
        if verdict(effects) is Verdict.SUPPORTED
        else "a limit for an experiment and no recommendation, because the propensities were estimated or not checked"
    )
    none = "; there is none where no gain is certain" if not all(it.limit for it in push.values()) else ""
    lead = (
        "A ranker that leans on rewards shows the items of highest reward more often. The further it leans, the higher "
        "the gain that the rewards predict. The gain of held-out users, whose rows these rewards were not estimated "
        "from, says how far to go. The dashed line is where the lower end of its interval is highest: "
        f"{advice}{none}. Gains are {unit} an exposure."
    )
    marks = legend([(MODEL, "gain of held-out users, 95% interval"), (SECOND, "predicted gain")])
    return section(PUSH, lead, marks, picture(figure, "predicted gain and gain of held-out users"))


def how_early(found: EarlyReadout, star: str, level: float) -> Section:
    """How often early days decide as the whole horizon does."""
    if found.reason is not None:
        return section(HOW_EARLY, f"Early days were not compared with the whole horizon: {found.reason}.")
    lead = (
        f"Would a test that is read after some days have the decision that {star} gave after all "
        f"{found.horizon_days} days? A decision is up, down or neither at {found.alpha:.0%}. It is made by the days so "
        "far, and by surrogates that predict the rest. Tests without an effect agree by deciding nothing, and early "
        "days share their noise with the whole. So read recall too: the share of launches that would still have been "
        "launched."
    )
    rows = found.agreement
    names = list(dict.fromkeys(it.surrogate for it in rows))
    colours = dict(zip(names, cycle((SECOND, MODEL, THIRD, FOURTH))))
    shown = {"consistent": "share of tests decided alike", "recall": "recall of launches", "precision": "precision"}
    figure, axes = canvas(1, len(shown), 2.9)
    for panel, (measure, title) in zip(axes, shown.items(), strict=True):
        for shift, name in enumerate(names):
            mine = [it for it in rows if (it.surrogate, it.measure) == (name, measure)]
            at = [it.day + 0.012 * found.horizon_days * (shift - (len(names) - 1) / 2) for it in mine]
            values = [np.nan if it.estimate.value is None else it.estimate.value for it in mine]
            panel.plot(at, values, color=colours[name], lw=1.2, alpha=0.6)
            for place, it in zip(at, mine, strict=True):
                point(panel, place, it.estimate, colours[name], across=False)
        panel.set(title=title, xlabel="day", ylim=(0, 1.03))
        panel.grid(visible=False, axis="x")
    drawing = picture(figure, "agreement of early days")
    marks = legend([(colours[name], name) for name in names])
    return section(HOW_EARLY, lead, bullets(early_sentences(found, level)), marks, drawing)


def past_experiments(found: PastExperiments) -> Section:
    """What past A/B tests say of quick signals."""
    star = found.north_star
    lead = (
        f"Which quick signals predict {star}, by past experiments. The weights turn effects on signals into the effect "
        f"on {star}. The proxy is the weighted sum of signals; its decisions on each arm use weights that were learned "
        "without that arm's experiment."
    )
    if found.left_out:
        lead += f" Columns that are not numbers were left out: {', '.join(found.left_out)}."
    if found.reason is not None:
        return section("Past experiments", lead, Paragraph(f"Not computed: {found.reason}."))
    weights: list[Row] = [(f"{it.method}: {it.signal}", [cell_of(it.estimate, 3)]) for it in found.weights]
    measures: list[Row] = [(it.measure, [cell_of(it.estimate, 2)]) for it in found.measures]
    figure, [axes] = canvas(1, 1, 3.0)
    for it in found.front:
        _combination(axes, it)
    axes.set_title("sign agreement against sensitivity, with intervals; the front in colour, single signals by name")
    axes.set_xlabel(f"sensitivity, times that of {star}")
    axes.set_ylabel("sign agreement")
    counted = Paragraph(f"{found.arms} arms of {found.experiments} experiments.")
    table = tabled([f"weight for {star}", "estimate"], weights)
    judged = tabled(["the proxy, JIVE weights", "estimate"], measures)
    return section("Past experiments", lead, counted, table, judged, picture(figure, "sensitivity and agreement"))


def _combination(axes: Axes, it: Combination) -> None:
    """A combination of signals with both its intervals; a single signal by name."""
    if it.sensitivity is None or it.sign_agreement is None:
        return
    colour = MODEL if it.front else FOURTH
    sensitivity = Estimate(it.sensitivity, it.sensitivity_low, it.sensitivity_high)
    agreement = Estimate(it.sign_agreement, it.sign_agreement_low, it.sign_agreement_high)
    point(axes, it.sign_agreement, sensitivity, colour, across=True)
    point(axes, it.sensitivity, agreement, colour, across=False)
    if it.name is not None:
        axes.annotate(it.name, (it.sensitivity, it.sign_agreement), (6, 6), textcoords="offset points")
