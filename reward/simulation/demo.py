"""A demonstration in about a minute: a simulated service, rewards learned from its log, and rankers on them.

On a real log nobody knows what an item did. Here it is known, so what was learned can be held against it, and rankers
can be let loose on the users and their active days counted.
"""

from __future__ import annotations

import logging
import tomllib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import torch
from pytorch_lightning import Trainer

from reward import records
from reward.arrays import Floats
from reward.causal.diagnostics.balance import balance
from reward.causal.diagnostics.summary import EffectSummary, summarize_effects, verdict
from reward.causal.estimate import ItemEffects, estimate_effects
from reward.causal.user_effects.estimation import fit_user_effects
from reward.columns import ITEM, PROPENSITY, TIMESTAMP, USER
from reward.data.event_log import EventLog
from reward.data.split import day_to_date, known_at, split
from reward.data.validation import check
from reward.encoders.gru import GRU
from reward.evaluation.estimates import Estimate
from reward.evaluation.simulated_truth import EFFECT, REWARD, AgainstTruth, against_truth, beside_truth
from reward.features.events import Features
from reward.heads.trace import TraceHead
from reward.objectives.likelihood import trace_likelihood
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.protocol import STATES
from reward.records import Kept
from reward.report.drawing import MODEL, MUTED, PAPER, SECOND, STYLE, THIRD, canvas, in_light, point
from reward.report.sentences import truth_sentences
from reward.report.text import amount, places, readable
from reward.scoring.artifact import save
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.sequences.network import RewardNetwork
from reward.simulation.lives import Service, open_service
from reward.simulation.log import events_of, items_of
from reward.simulation.long_run import Outcome, outcome
from reward.simulation.rankers import Slates, log_with_slates, policy_of, train_ranker, true_effects
from reward.simulation.slate_policies import logging_policy
from reward.simulation.true_effects import item_effects
from reward.simulation.world import World
from reward.task import Task
from reward.writing import whole, write_json

Settings = dict[str, Any]
Phase = Callable[[str], AbstractContextManager[object]]
CLICKS, REWARDS, TRUTH = "clicks", "learned rewards", "true effects"
_TASK = "active_days"
FEEDBACK, CONTEXT = ("click", "listen_ms", "skip", "like", "survey"), ("surface", "platform")
ITEM_FEATURES = ("content_type", "creator_id", "minutes", "release_day", "embedding")
LEVEL = 0.95
_NORMAL = 1.959964  # standard deviations to either side that hold 95%


@dataclass(frozen=True)
class Found:
    """What a demonstration measured.

    Attributes:
        users, rows, items, days: of the log.
        times: how many times as large the effects are as in the worlds that come with the library.
        truth: what `against_truth` returns.
        gains: by the signal that a ranker was trained on, active days more for each user over ``roll_out_days`` than
            the service as it was brings, an estimate with its 95% interval.
        usual: active days that the service as it was brings.
        roll_out_days: days for which rankers fill the slates.
        effects: what was found of them by the log's own checks.
    """

    users: int
    rows: int
    items: int
    days: int
    times: float
    truth: AgainstTruth
    gains: dict[str, Estimate]
    usual: float
    roll_out_days: int
    effects: Annotated[EffectSummary, Kept("account")]

    def sentences(self) -> list[str]:
        """What was found, what it is worth, and what it does not show."""
        learned, clicked = (_correlate(self.truth.correlation[name]) for name in ("learned reward", "click rate"))
        return [
            f"Learned rewards of {self.truth.items} items {learned} with what showing each truly does to the days "
            f"its users come back; click rates {clicked} with it.",
            f"Over {self.roll_out_days} days, of which users of the service as it is are active on {self.usual:.1f}, a "
            f"ranker trained on {REWARDS} {_brings(self.gains[REWARDS])}, and one trained on {CLICKS} "
            f"{_brings(self.gains[CLICKS])}; with the {TRUTH}, which no log shows, it {_brings(self.gains[TRUTH])}.",
            f"The log's own checks, which need no truth, say of these effects: {verdict(self.effects)}. The service is "
            f"simulated, with effects {self.times:g} times as large as in the library's other worlds so that a small "
            "log shows them; of a log of your own, the report says what it can carry.",
        ]


def demo(folder: Path, *, seed: int, phase: Phase, settings: Settings | None = None) -> Found:
    """Live a log, learn rewards from it, hold them against the truth, and let rankers loose on the users.

    Args:
        folder: gets ``demo.svg``, ``demo.json``, the artefact ``reward/`` and the log, ``events.parquet``.
        seed: of the world and of all that is drawn.
        phase: opens a context for each step, by its name.
        settings: in place of ``demo.toml``.
    """
    told = settings or default_settings()
    torch.set_num_threads(1)  # the same sums in the same order wherever it runs; the parts are too small for more
    horizon, days = ActivityTrace(told["demo"]["horizon_days"]), told["demo"]["roll_out_days"]
    service = open_service(World(**told["world"]), seed)
    with phase("a log of a simulated service"):
        run, shown, slates = log_with_slates(service, **told["slates"])
        events = events_of(service, shown)
        log = _log(service, events)
        with whole(folder / "events.parquet") as scratch:
            events.write_parquet(scratch)
    with phase("a forecaster of active days"):
        function = _forecaster(log, horizon, told, seed)
    with phase("the effects of items, and their checks"):
        effects, found = _effects(log, horizon, told, seed)
        function.effects, function.facts["effects"] = effects.model, found.to_json()
        save(function, folder / "reward")
    with phase("what items truly do"):
        items, truth = _truth(service, log, effects, horizon, told)
    with phase("rewards for slates of the log"):
        signals = {
            CLICKS: slates.clicks,
            REWARDS: rewards_of(function, events, slates),
            TRUTH: true_effects(service, slates, run.slope[slates.day, slates.user], horizon.horizon_days),
        }
    with phase("three rankers, and what they bring"):
        start = run.state.of(np.arange(min(service.world.users, told["demo"]["roll_out_users"])))
        usual = outcome(service, logging_policy(service), start, days)
        gains = {}
        for name, signal in signals.items():
            ranker = train_ranker(service, slates, signal, **told["ranker"])
            gains[name] = _gain(outcome(service, policy_of(service, ranker), start, days), usual)
    measured = Found(
        users=events[USER].n_unique(),
        rows=len(events),
        items=events[ITEM].n_unique(),
        days=service.world.days,
        times=told["demo"]["times"],
        truth=truth,
        gains=gains,
        usual=usual.mean()[0],
        roll_out_days=days,
        effects=found,
    )
    with whole(folder / "demo.svg") as scratch:
        scratch.write_text(picture(measured, items), encoding="utf-8")
    figures = {"seed": seed, **records.to_json(measured), "by item": items.to_dicts()}
    figures["truth"]["sentences"] = truth_sentences(truth, unit=horizon.unit, click=FEEDBACK[0], level=LEVEL)
    write_json(folder / "demo.json", {**figures, "sentences": measured.sentences()})
    return measured


def default_settings() -> Settings:
    """The settings of ``demo.toml``."""
    return tomllib.loads((files("reward.simulation") / "demo.toml").read_text(encoding="utf-8"))


def rewards_of(function: RewardFunction, events: pl.DataFrame, slates: Slates) -> Floats:
    """(n, candidates) what the scoring function says of showing each item in each slate.

    Args:
        function: scores.
        events: the log, in the order in which ``slates.row`` counts.
        slates: n of them.

    Raises:
        ValueError: the rows of ``events`` are not those of the slates.
    """
    now = events[slates.row].select(USER, TIMESTAMP, *CONTEXT)
    if not np.array_equal(now[USER].to_numpy(), slates.user):
        raise ValueError(
            "expected events in the order in which slates.row counts them, got another: give them unsorted"
        )
    history = function.encode(events, now=now)
    return np.asarray(function.score_candidates(history, slates.items).mean.numpy())


def picture(found: Found, items: pl.DataFrame) -> str:
    """Learned rewards against the truth, and the days that rankers bring, as SVG on paper white.

    Args:
        found: what was measured.
        items: ``effect``, ``reward`` and ``click_rate`` of each.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE | {"figure.facecolor": PAPER, "svg.fonttype": "path"}):
        figure, (left, right) = canvas(1, 2, 3.5)
        left.scatter(items[EFFECT], items[REWARD], s=16, color=MODEL, alpha=0.7, linewidths=0)
        left.axhline(0, color=MUTED, lw=0.9)
        left.axvline(0, color=MUTED, lw=0.9)
        correlation = readable(found.truth.correlation["learned reward"].value, 2)
        left.set_title(f"What {len(items)} items do to days of return: correlation {correlation}")
        left.set_xlabel("true effect of showing the item once, days")
        left.set_ylabel("learned reward, days")
        decimals = min(places(found.gains.values()), 2)
        for place, (name, colour) in enumerate({CLICKS: SECOND, REWARDS: MODEL, TRUTH: THIRD}.items()):
            gain = found.gains[name]
            value, end = gain.value or 0.0, max(gain.high or 0.0, 0)
            right.barh(place, value, color=colour, alpha=0.35, height=0.6)
            point(right, place, gain, colour, across=True)
            text = f"{'+' if value > 0 else ''}{readable(value, decimals)}"
            right.annotate(text, (end, place), (6, 0), textcoords="offset points", va="center")
        right.axvline(0, color=MUTED, lw=0.9)
        right.set_yticks(range(3), [f"ranker on\n{name}" for name in (CLICKS, REWARDS, TRUTH)])
        right.set_ylim(2.6, -0.6)
        right.margins(x=0.18)
        right.grid(visible=False, axis="y")
        right.set_title(f"Active days gained over {found.roll_out_days} days")
        right.set_xlabel(f"days more than the service as it was ({found.usual:.1f}), 95% intervals over users")
        return in_light(figure)


def _brings(gain: Estimate) -> str:
    side = gain.side_of_zero
    told = amount(-gain if side == "below" else gain, unit=" days", level=LEVEL)
    if side == "open":
        return f"changes nothing that these users can show ({told})"
    return f"{'takes away' if side == 'below' else 'adds'} {told}"


def _correlate(estimate: Estimate) -> str:
    told = amount(estimate, unit="", level=LEVEL)
    if estimate.side_of_zero == "open":
        return f"have no correlation that these items can show ({told})"
    return f"correlate {told},"


def _gain(after: Outcome, before: Outcome) -> Estimate:
    value, se = after.less(before)
    return Estimate(value, value - _NORMAL * se, value + _NORMAL * se)


def _log(service: Service, events: pl.DataFrame) -> EventLog:
    world = service.world
    start = datetime.fromisoformat(world.start).replace(tzinfo=UTC)
    log = EventLog(
        events=events.lazy(),
        feedback=FEEDBACK,
        context=CONTEXT,
        session_gap_minutes=30,
        max_rejected_share=0.0,
        items=items_of(service).lazy(),
        item_features=ITEM_FEATURES,
        end=start + timedelta(days=world.days),
    )
    return check(log).log


def _truth(
    service: Service, log: EventLog, effects: ItemEffects, horizon: ActivityTrace, told: Settings
) -> tuple[pl.DataFrame, AgainstTruth]:
    """What items truly do beside what was learned of them, and how the two agree."""
    true = item_effects(service.world, seed=service.seed, horizon_days=horizon.horizon_days, **told["truth"])
    items = beside_truth(true, effects.items, log.events, FEEDBACK[0])
    resamples = told["demo"]["resamples"]
    return items, against_truth(items, resamples=resamples, seed=service.seed, level=LEVEL)


def _forecaster(log: EventLog, horizon: ActivityTrace, told: Settings, seed: int) -> RewardFunction:
    """A small scoring function without effects."""
    it, window = told["forecaster"], split(log, **told["split"])
    torch.manual_seed(seed)
    features = Features.fit(known_at(log, window.train_end), **told["features"])
    batches = {name: it[name] for name in ("max_events", "batch_rows")}
    data = StreamData(log, {_TASK: horizon}, features, window, reward=_TASK, members=1, seed=seed, **batches)
    head = TraceHead(width=it["width"], hidden=it["hidden"], horizon_days=horizon.horizon_days, members=1)
    network = RewardNetwork(
        GRU(width=it["width"], layers=1, dropout=0.0),
        {_TASK: head},
        reward=_TASK,
        sizes=features.sizes(),
        item_dropout=0.2,
    )
    model = RewardModel(
        network,
        {_TASK: Task(horizon, head, trace_likelihood)},
        optimizer=partial(torch.optim.AdamW, lr=it["learning_rate"]),
        warmup_steps=it["warmup_steps"],
        state_weights=dict.fromkeys(STATES, 1.0),
        seed=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises on workers, loggers and devices
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        trainer = Trainer(
            max_epochs=1,
            limit_train_batches=it["batches"],
            limit_val_batches=0,
            accelerator="cpu",
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, data)
    model.calibrate(data.val_dataloader(), prior_events=it["prior_events"])
    start, train_end, validation_end, end = (day_to_date(day).isoformat() for day in window.days)
    facts = {
        "made_with": "python -m reward demo",
        "window": {"start": start, "train_end": train_end, "validation_end": validation_end, "end": end},
        "table": {"trained on": f"{start} to {train_end} (exclusive), of a simulated service"},
    }
    tasks = {_TASK: horizon}
    return RewardFunction(network, features, tasks, max_events=it["max_events"], timestamp_unit=None, facts=facts)


def _effects(log: EventLog, horizon: ActivityTrace, told: Settings, seed: int) -> tuple[ItemEffects, EffectSummary]:
    """The effects, and how far they can be believed."""
    personal = partial(fit_user_effects, net=None, **told["personal"])
    effects = estimate_effects(log, horizon, personal=personal, seed=seed, **told["effects"])
    propensity = log.events.select(PROPENSITY).collect().to_series().to_numpy()
    checked = balance(log, propensity, half=None, seed=seed, **told["balance"])
    fitted = None if effects.model is None else (effects.model.calibration, effects.model.personal_calibration)
    return effects, summarize_effects(effects.calibration, None, checked, personal=fitted, pushed=effects.pushed)
