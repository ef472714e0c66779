"""What is held against the true effects of a log: rewards that the second stage learns, and what people use today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
from gap.cells import rewards_by_cell
from gap.signals import (
    activity_after,
    adjusted_activity,
    click_rate,
    like_rate,
    mean_activity,
    mean_minutes,
    shrunk_activity,
    survey_mean,
    survey_times_clicks,
    weighted_activity,
)
from gap.study import column
from harness import Arrays
from hydra.utils import instantiate
from worlds import world_of

from recovered.logs import ANSWERS, TRUTH, Case, fitted, true_effects
from reward.columns import ITEM, PROPENSITY, USER
from reward.data.event_log import EventLog
from reward.simulation.true_effects import segments_of

LEARNED = "learned reward"
UNANSWERED = "learned reward, without surveys and likes"
ESTIMATED = "learned reward, propensities estimated"
ANCHOR = "learned reward, before pooling"
BOOSTED = "LightGBM difference"
PROSPECTIVE = "prospective reward"
TODAY = {
    "click rate": click_rate,
    "minutes": mean_minutes,
    "like rate": like_rate,
    "survey mean": survey_mean,
    "survey x click rate": survey_times_clicks,
    "mean activity": mean_activity,
    "mean activity, adjusted": adjusted_activity,
    "mean activity, adjusted, shrunk": shrunk_activity,
    "mean activity, adjusted, weighted, shrunk": weighted_activity,
}
SURVEYED = ("survey mean", "survey x click rate")
WEIGHTED = ("mean activity, adjusted, weighted, shrunk",)


def learned(case: Case, log: EventLog, propensity: np.ndarray | None = None, **changes: object) -> Arrays:
    """The second stage on a log, with settings of its own: items' effects, and what users held out say of them."""
    found = fitted(case, log, propensity, personal=None, **changes)
    place = found.items[ITEM].cast(pl.Int64).to_numpy()
    out = {"slope": np.array(found.calibration.slope), "slope_se": np.array(found.calibration.se)}
    for name in ("mean", "std", "anchor"):
        values = np.full(case.items, np.nan)
        values[place] = found.items[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        out[name] = values
    return out


def with_everything(case: Case) -> Arrays:
    """The learned reward."""
    return learned(case, case.log)


def without_answers(case: Case) -> Arrays:
    """The learned reward from a log without surveys and likes."""
    feedback = tuple(name for name in case.log.feedback if name not in ANSWERS)
    return learned(case, replace(case.log, feedback=feedback))


def with_estimated(case: Case) -> Arrays:
    """The learned reward from a log whose propensities are taken away, and what the checks say of those estimated."""
    log, propensity, checked = estimated(case)
    return learned(case, log, propensity) | checked


def estimated(case: Case) -> tuple[EventLog, np.ndarray, Arrays]:
    """The log without its propensities, those estimated from it, and what the checks say of them."""
    log = replace(case.log, events=case.log.events.drop(PROPENSITY, strict=False))
    made = instantiate(case.config.propensities, _convert_="all")(log)
    checked = found_by_balance(case, log, made.propensity, made.half)
    return log, made.propensity, checked | {"calibration flagged": np.array(float(made.calibration.flagged))}


def found_by_balance(case: Case, log: EventLog, propensity: np.ndarray, half=None) -> Arrays:
    """What the balance check says of propensities: whether it flags them, and the z of each covariate."""
    checked = instantiate(case.config.balance)(log, propensity, half=half)
    z = {f"z {row['covariate']}": np.array(row["z"]) for row in checked.frame.to_dicts()}
    return z | {"flagged": np.array(float(checked.flagged))}


def prospective(case: Case) -> Arrays:
    """The reward of showing each item to users of each segment; see `rewards_by_cell`."""
    found = fitted(case, case.log)
    assert found.model is not None
    own = np.full(case.items, np.nan)
    own[found.items[ITEM].cast(pl.Int64).to_numpy()] = found.items["mean"].to_numpy()
    segment = segments_of(case.service)
    out = rewards_by_cell(case.service, case.events, found.model, segment, case.truth_days, seed=case.seed)
    held_out = {
        "held-out slope": found.model.calibration,
        "held-out slope, personal": found.model.personal_calibration,
    }
    return out | {"own": own} | {name: np.array([it.slope, it.se]) for name, it in held_out.items()}


def shown_to(case: Case) -> Arrays:
    """(items,) how often each item was shown, and the mean base activity of to whom."""
    item, user = column(case, ITEM), column(case, USER)
    shown = np.bincount(item, minlength=case.items)
    base = np.bincount(item, case.service.population.base[user], case.items) / np.maximum(shown, 1)
    return {"exposures": shown, "base activity": base}


def today(case: Case) -> Arrays:
    """(items,) of each of today's signals, and of `shown_to`."""
    logged = PROPENSITY in case.events.columns
    signals = {name: signal(case) for name, signal in TODAY.items() if logged or name not in WEIGHTED}
    return {**shown_to(case), **signals}


def boosted_difference(case: Case, rows: int = 200_000, contexts: int = 1000) -> Arrays:
    """What boosted trees forecast of the active days ahead with the item shown, less with the average item.

    They read past activity, the context and the item: its id, features and creator. Users of each half are forecast by
    trees that were fitted to the other half. Each item is put into the same sampled slots.
    """
    import lightgbm

    told = case.config.evaluation.boosting
    setting = {**told.parameters, "objective": "regression", "seed": case.seed, "deterministic": True}
    setting |= {"force_row_wise": True, "num_threads": 1, "verbosity": -1}
    rng = np.random.default_rng([case.seed, 11])
    there, ahead, past = activity_after(case)
    use = np.sort(rng.permutation(len(there))[:rows])
    there, ahead, past = there[use], ahead[use], past[use]
    catalogue = case.service.catalogue
    codes = [column(case, name) for name in ("surface", "platform")]
    slot = np.column_stack([past, column(case, "position")[there], *(_coded(it)[there] for it in codes)])
    features = np.column_stack(
        [catalogue.minutes, catalogue.embedding, catalogue.type, catalogue.creator, np.arange(case.items)]
    )
    width = slot.shape[1]
    categories = [width - 2, width - 1, *range(width + features.shape[1] - 3, width + features.shape[1])]
    item, user = column(case, ITEM)[there], column(case, USER)[there]
    table = np.column_stack([slot, features[item]]).astype(np.float32)
    group = rng.integers(0, 10, case.users)[user]  # two halves, of each of which a fifth stops the trees
    scores = np.zeros(case.items)
    live = np.unique(item)
    for half in range(2):
        parts = [(group % 2 == half) & ((group < 2) == stops) for stops in (False, True)]
        fitted, stopping = (
            lightgbm.Dataset(table[it], ahead[it], categorical_feature=categories, params=setting) for it in parts
        )
        stop = lightgbm.early_stopping(told.patience, verbose=False)
        trees = lightgbm.train(setting, fitted, told.max_trees, valid_sets=[stopping], callbacks=[stop])
        others = slot[rng.choice(np.flatnonzero(group % 2 != half), contexts)]
        for one in live:
            with_it = np.column_stack([others, np.broadcast_to(features[one], (contexts, features.shape[1]))])
            scores[one] += trees.predict(with_it, num_threads=1).mean() / 2
    scores -= np.average(scores[live], weights=np.bincount(item, minlength=case.items)[live])
    return {BOOSTED: np.where(np.isin(np.arange(case.items), live), scores, np.nan)}


PARTS: dict[str, Callable[[Case], Arrays]] = {
    TRUTH: true_effects,
    "today": today,
    LEARNED: with_everything,
    UNANSWERED: without_answers,
    BOOSTED: boosted_difference,
    ESTIMATED: with_estimated,
    PROSPECTIVE: prospective,
}
AT_EVERY_SIZE = ("today", LEARNED, UNANSWERED)
NEED_PROPENSITIES = (LEARNED, UNANSWERED, PROSPECTIVE)


def parts_of(name: str, first_size: bool) -> list[str]:
    """What is computed in a world: without logged propensities the learned reward needs estimated ones."""
    parts = list(PARTS) if first_size else list(AT_EVERY_SIZE)
    return parts if world_of(name).logged_propensities else [it for it in parts if it not in NEED_PROPENSITIES]


def _coded(names: np.ndarray) -> np.ndarray:
    return np.unique(names, return_inverse=True)[1]
