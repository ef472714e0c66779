"""Does the learned reward find what items did? Its items' effects, and what people use today, against the true effects.

For each world and seed one log is lived and the second stage fitted to it with the settings of ``conf/``. Told are the
correlations with the true item effects of the learned reward, of variants of it and of today's signals; and of the
learned reward its calibration slope, the coverage of its intervals, whether it errs with the activity of those an item
is shown to, and whether users held out bear it out. Then the same at other log sizes, against the same truth. Nothing
was tuned on these seeds.

What was computed is kept in a folder, job by job: a run that was broken off goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
from gap.cells import CELLS, judge_cells, rewards_by_cell
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
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import rankdata
from worlds import HORIZON_DAYS, JUDGED, OTHERS, ROOT, correlation, world_of, write_result

from reward.causal.estimate import ItemEffects
from reward.columns import ITEM, PROPENSITY, USER
from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.simulation.lives import Service, open_service
from reward.simulation.paired_runs import paired_runs
from reward.simulation.policies import logging_policy
from reward.simulation.truth import effects, segments_of
from reward.simulation.world import catalogue_of
from reward.writing import whole

ALL = "all worlds"
TRUTH = "truth"
LEARNED = "learned reward"
UNANSWERED = "learned reward, without surveys and likes"
ESTIMATED = "learned reward, propensities estimated"
ANCHOR = "learned reward, before pooling"
BOOSTED = "LightGBM difference"
PROSPECTIVE = "prospective reward"
LEAST_EXPOSURES = 200  # an item with fewer is not judged
ANSWERS = ("survey", "like")  # feedback that in these worlds nearly reads satisfaction
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
DRAWN = {  # colour and line
    LEARNED: ("#c44e52", "-"),
    UNANSWERED: ("#c44e52", "--"),
    "survey x click rate": ("#4c72b0", "-"),
    "mean activity, adjusted, weighted, shrunk": ("#55a868", "-"),
    "mean activity, adjusted": ("#55a868", "--"),
    "click rate": ("#8c8c8c", "-"),
}
Figures = dict[str, dict[int, dict[str, float]]]  # world (and size) -> seed -> metric -> value
Goal = tuple[str, Callable[[float], bool]]
BESTS = {  # of today's signals which are left out
    "the best of today's": SURVEYED,
    "the best of today's without propensities": (*SURVEYED, *WEIGHTED),
    "the best of today's and of surveys": (),
}
_MARGIN: Goal = (">= 0.2", lambda value: value >= 0.2)
# (world, size, metric) of the learned reward, {}, with surveys and likes and without
GOALS: dict[tuple[str, str, str], Goal] = {
    (ALL, "", "Pearson, {}"): (">= 0.75", lambda value: value >= 0.75),
    (ALL, "", "Pearson, {}, worst log"): (">= 0.55", lambda value: value >= 0.55),
    (ALL, "80,000 users", "Pearson, {}"): (">= 0.82", lambda value: value >= 0.82),
    (ALL, "", "truth in the 95% interval, {}"): ("0.85 to 0.97", lambda value: 0.85 <= value <= 0.97),
    ("no_effect", "", "held-out interval covers 0, {}"): ("1", lambda value: value == 1),
    **{(ALL, "", f"Pearson, {{}}, above {label}"): _MARGIN for label in list(BESTS)[:2]},
}
EXACT_GOALS: dict[tuple[str, str], Goal] = {
    (ALL, f"Pearson, {ESTIMATED}"): (">= 0.6", lambda value: value >= 0.6),
    ("no_effect", f"held-out interval covers 0, {ESTIMATED}"): ("1", lambda value: value == 1),
    ("hidden", f"flagged, {ESTIMATED}"): ("1", lambda value: value == 1),
}


@dataclass(frozen=True)
class Case:
    """One world, seed and number of users; what is slow is made when it is first asked for.

    Attributes:
        name: of ``conf/simulation/name.yaml``.
        seed: draws the items, the users and their luck.
        users: how many.
        parents_per_day: visits with paired runs, on each of the days that the truth is measured on.
        changes: constants of the world that are other than the yaml's, by name.
    """

    name: str
    seed: int
    users: int
    parents_per_day: int
    changes: tuple[tuple[str, float], ...] = ()

    @cached_property
    def config(self):
        """What ``train.py data=world`` would use."""
        told = ["data=world", f"simulation={self.name}", f"simulation.users={self.users}", f"seed={self.seed}"]
        told += [f"simulation.{name}={value}" for name, value in self.changes]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("train", overrides=told)

    @cached_property
    def service(self) -> Service:
        """The simulated service; of it no estimator reads more than the number of users and items."""
        return open_service(world_of(self.name, users=self.users, **dict(self.changes)), self.seed)

    @property
    def truth_days(self) -> range:
        """The days on which the truth is measured."""
        return range(10, self.service.world.days - HORIZON_DAYS, 7)

    @cached_property
    def log(self) -> EventLog:
        """What the service logs, checked."""
        return check(instantiate(self.config.data)).log

    @cached_property
    def events(self) -> pl.DataFrame:
        """Its rows; an ``item_id`` is the item's row in the catalogue."""
        return self.log.events.collect()

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self.service.catalogue.kind)


def true_effects(case: Case) -> dict[str, np.ndarray]:
    """Effects by item, (items,), and by item and segment of users, with standard errors.

    Where nothing shown changes visiting they are 0.
    """
    service = case.service
    segment = segments_of(service)
    if service.world.gain == 0:
        nothing = np.zeros((case.items, segment.max() + 1))
        return {"mean": nothing[:, 0], "se": nothing[:, 0], "by_segment": nothing, "by_segment_se": nothing}
    pairs = paired_runs(
        service,
        logging_policy(service),
        horizon_days=HORIZON_DAYS,
        days=case.truth_days,
        parents_per_day=case.parents_per_day,
        items_per_parent=10,
        block=case.parents_per_day,
    )
    truth = effects(pairs, segment, service.catalogue.kind)
    return {name: getattr(truth, name) for name in ("mean", "se", "by_segment", "by_segment_se")}


def fitted(case: Case, log: EventLog, propensity: np.ndarray | None = None, **changes) -> ItemEffects:
    """What the second stage finds in a log."""
    told = case.config.causal
    rare = [name for name in told.rare if name in log.feedback]
    fit = instantiate(told, seed=case.seed, **({"rare": rare} | changes))
    return fit(log, instantiate(case.config.task.active_days.outcome), propensity=propensity)


def learned(case: Case, log: EventLog, propensity: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The second stage on a log: items' effects, and what users held out say of them."""
    found = fitted(case, log, propensity, personal=None)
    place = found.items[ITEM].cast(pl.Int64).to_numpy()
    out = {"slope": np.array(found.calibration.slope), "slope_se": np.array(found.calibration.se)}
    for name in ("mean", "std", "anchor"):
        values = np.full(case.items, np.nan)
        values[place] = found.items[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        out[name] = values
    return out


def with_everything(case: Case) -> dict[str, np.ndarray]:
    """The learned reward."""
    return learned(case, case.log)


def without_answers(case: Case) -> dict[str, np.ndarray]:
    """The learned reward from a log without surveys and likes."""
    feedback = tuple(name for name in case.log.feedback if name not in ANSWERS)
    return learned(case, replace(case.log, feedback=feedback))


def with_estimated(case: Case) -> dict[str, np.ndarray]:
    """The learned reward from a log whose propensities are taken away, and what the checks say of those estimated."""
    log, propensity, checked = estimated(case)
    return learned(case, log, propensity) | checked


def estimated(case: Case) -> tuple[EventLog, np.ndarray, dict[str, np.ndarray]]:
    """The log without its propensities, those estimated from it, and what the checks say of them."""
    log = replace(case.log, events=case.log.events.drop(PROPENSITY, strict=False))
    made = instantiate(case.config.propensities, _convert_="all")(log)
    checked = found_by_balance(case, log, made.propensity, made.half)
    return log, made.propensity, checked | {"calibration flagged": np.array(float(made.calibration.flagged))}


def found_by_balance(case: Case, log: EventLog, propensity: np.ndarray, half=None) -> dict[str, np.ndarray]:
    """What the balance check says of propensities: whether it flags them, and the z of each covariate."""
    checked = instantiate(case.config.balance)(log, propensity, half=half)
    z = {f"z {row['covariate']}": np.array(row["z"]) for row in checked.frame.to_dicts()}
    return z | {"flagged": np.array(float(checked.flagged))}


def prospective(case: Case) -> dict[str, np.ndarray]:
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


def shown_to(case: Case) -> dict[str, np.ndarray]:
    """(items,) how often each item was shown, and the mean base activity of to whom."""
    item, user = column(case, ITEM), column(case, USER)
    shown = np.bincount(item, minlength=case.items)
    base = np.bincount(item, case.service.population.base[user], case.items) / np.maximum(shown, 1)
    return {"exposures": shown, "base activity": base}


def today(case: Case) -> dict[str, np.ndarray]:
    """(items,) of each of today's signals, and of `shown_to`."""
    logged = PROPENSITY in case.events.columns
    signals = {name: signal(case) for name, signal in TODAY.items() if logged or name not in WEIGHTED}
    return {**shown_to(case), **signals}


def boosted_difference(case: Case, rows: int = 200_000, contexts: int = 1000) -> dict[str, np.ndarray]:
    """What boosted trees forecast of the active days ahead with the item shown, less with the average item.

    They read past activity, the context and the item: its id, features and creator. Users of each half are forecast by
    trees that were fitted to the other half. Each item is put into the same sampled slots.
    """
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


PARTS: dict[str, Callable[[Case], dict[str, np.ndarray]]] = {
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


def changed(case: Case) -> list[str]:
    """The constants that are other than the yaml's, in words."""
    return [f"{name}={value:g}" for name, value in case.changes]


def file_of(folder: Path, case: Case, part: str) -> Path:
    """Where the arrays of a part are kept."""
    words = [case.name, *changed(case), case.seed, case.users, part.replace(",", "").replace(" ", "-")]
    return folder / ("_".join(map(str, words + [case.parents_per_day] * (part == TRUTH))) + ".npz")


def compute(cases: dict[Case, list[str]], folder: Path, console: Console, how=PARTS) -> None:
    """Computes the parts that are not kept yet, by the functions in ``how``, and keeps each as soon as it is there."""
    missing = [(case, part) for case, parts in cases.items() for part in parts]
    missing = [(case, part) for case, part in missing if not file_of(folder, case, part).exists()]
    own = None
    for case, part in track(missing, "worlds, seeds and estimators", console=console):
        if own != case:
            own = replace(case)  # a fresh copy, so that the log of the last one is forgotten
        console.log(", ".join([case.name, *changed(case), f"seed {case.seed}", f"{case.users:,} users: {part}"]))
        with whole(file_of(folder, case, part)) as scratch, scratch.open("wb") as out:
            np.savez(out, **how[part](own))


def found_of(case: Case, folder: Path, parts=PARTS) -> dict[str, dict[str, np.ndarray]]:
    """Those of ``parts`` that are kept, by name."""
    found = {}
    for part in parts:
        if file_of(folder, case, part).exists():
            with np.load(file_of(folder, case, part)) as arrays:
                found[part] = dict(arrays)
    return found


def judge(truth, shown, scores) -> dict[str, float]:
    """Figures of one log: of each signal its correlations, of the learned rewards whether they can be believed.

    Args:
        truth: ``mean`` and ``se``, versus nothing shown.
        shown: ``exposures``, ``base activity`` and whether the item was live ``throughout``.
        scores: name -> (items,) values, or what `learned` gives.
    """
    judged = np.isfinite(truth["mean"]) & (shown["exposures"] > LEAST_EXPOSURES)
    weight, base = shown["exposures"][judged].astype(float), shown["base activity"][judged]
    effect = _centred(truth["mean"][judged], weight)
    few, many = np.quantile(weight, [1 / 3, 2 / 3])
    groups = {
        "": np.ones(len(weight), bool),
        "items live throughout, ": shown["throughout"][judged],
        "third shown least, ": weight <= few,
        "third shown most, ": weight >= many,
    }
    out = {}
    for name, score in scores.items():
        values = _known((score["mean"] if isinstance(score, dict) else score)[judged])
        says = values.std() > 0 or effect.std() == 0  # the same of every item: no correlation with what differs
        out[f"Pearson, {name}"] = correlation(values, effect) if says else 0.0
        out[f"Spearman, {name}"] = correlation(rankdata(values), rankdata(effect)) if says else 0.0
        if not isinstance(score, dict):
            continue
        estimate = _centred(values, weight)
        error, noise = estimate - effect, np.hypot(score["std"][judged], truth["se"][judged])
        low, high = (score["slope"] + side * 1.96 * score["slope_se"] for side in (-1, 1))
        out[f"slope of truth, {name}"] = _ratio((weight * effect) @ estimate, (weight * estimate) @ estimate)
        covered = np.abs(error) <= 1.96 * noise
        for group, members in groups.items():
            if members.any():
                out[f"truth in the 95% interval, {group}{name}"] = float(covered[members].mean())
        out[f"error ~ base activity, {name}"] = correlation(error, base)
        out[f"held-out slope, {name}"] = float(score["slope"])
        out[f"held-out slope, standard error, {name}"] = float(score["slope_se"])
        out[f"held-out interval covers 0, {name}"] = float(low <= 0 <= high)
        out[f"spread of estimates (days), {name}"] = float(estimate.std())
        out[f"error (days), {name}"] = float(np.sqrt(np.mean(error**2)))
        for extra in set(score) - {"mean", "std", "anchor", "slope", "slope_se"}:
            out[f"{extra}, {name}"] = float(score[extra])
    return out


def live_throughout(case: Case) -> np.ndarray:
    """(items,) whether an item was live on every day of the log: the truth is of some of its days."""
    world = world_of(case.name, **dict(case.changes))
    catalogue = catalogue_of(world, case.seed)
    return (catalogue.released <= 0) & (catalogue.withdrawn >= world.days)


def scores_of(found: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray | dict[str, np.ndarray]]:
    """All that is judged in one log, by name."""
    out = {name: found[name] for name in (LEARNED, UNANSWERED, ESTIMATED) if name in found}
    if LEARNED in found:
        out[ANCHOR] = found[LEARNED]["anchor"]
    signals = {**found.get("today", {}), **found.get(BOOSTED, {})}
    return out | {name: signals[name] for name in signals if name not in ("exposures", "base activity")}


def _centred(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return values - np.average(values, weights=weight)


def _known(values: np.ndarray) -> np.ndarray:
    """An item of which nothing is said stands at the mean."""
    return np.where(np.isfinite(values), values, np.nanmean(values))


def _ratio(one: float, other: float) -> float:
    return float(one / other) if other > 0 else np.nan


def _coded(names: np.ndarray) -> np.ndarray:
    return np.unique(names, return_inverse=True)[1]


def figures_of(cases: dict[Case, list[str]], first_users: int, folder: Path) -> Figures:
    """What `judge` says of each log, by world and size and by seed; logs without a truth or exposures are left out."""
    out: Figures = {}
    for case in cases:
        found = found_of(case, folder)
        truth = found_of(replace(case, users=first_users), folder).get(TRUTH)
        if truth is not None and "today" in found:
            what = case.name if case.users == first_users else f"{case.name}, {case.users:,} users"
            shown = found["today"] | {"throughout": live_throughout(case)}
            judged = judge(truth, shown, scores_of(found))
            if PROSPECTIVE in found:
                judged |= judge_cells(truth, found[PROSPECTIVE])
            out.setdefault(what, {})[case.seed] = judged
    sizes = {what.partition(", ")[2] for what in out}
    for size in sorted(sizes):
        parts = [out.get(f"{name}, {size}" if size else name, {}) for name in JUDGED]
        shared = sorted(set.intersection(*(set(part) for part in parts)))
        if shared:
            told = {seed: [it for it in parts[0][seed] if all(it in part[seed] for part in parts)] for seed in shared}
            out[f"{ALL}, {size}" if size else ALL] = {
                seed: {it: float(np.mean([part[seed][it] for part in parts])) for it in told[seed]} for seed in shared
            }
    return out


def best_of(of_seeds: dict[int, dict[str, float]], left_out: tuple[str, ...] = ()) -> str:
    """The one of today's signals with the highest mean Pearson correlation."""
    names = [name for name in (*TODAY, BOOSTED) if name not in left_out]
    there = [name for name in names if all(f"Pearson, {name}" in row for row in of_seeds.values())]
    return max(there, key=lambda name: np.mean([row[f"Pearson, {name}"] for row in of_seeds.values()]))


def rows_of(figures: Figures) -> list[dict[str, object]]:
    """The result: means over seeds and their standard errors, margins over today's signals, worst logs."""
    rows: list[dict[str, object]] = []

    def tell(what: str, metric: str, values: list[float], peers: dict[str, float] | None = None) -> None:
        mean = float(np.mean(values))
        se = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
        goal, holds = goal_of(what, metric)
        rows.append(
            {
                "what": what,
                "metric": metric,
                "ours": mean if np.isfinite(mean) else None,
                "se": se if np.isfinite(se) else None,
                "peers": peers or {},
                "goal": goal,
                "met": None if holds is None else bool(holds(mean)),
            }
        )

    for what, all_seeds in figures.items():
        tell(what, "seeds", [len(all_seeds)])
        world, _, size = what.partition(", ")
        for metric in dict.fromkeys(name for row in all_seeds.values() for name in row):
            tell(what, metric, [row[metric] for row in all_seeds.values() if metric in row])
        by_cell = sum(f"Pearson, {CELLS}" in row for row in all_seeds.values())
        if 0 < by_cell < len(all_seeds):
            tell(what, f"seeds, {PROSPECTIVE}", [by_cell])
        for name in (LEARNED, UNANSWERED, BOOSTED, ESTIMATED):
            metric = f"Pearson, {name}"
            of_seeds = {seed: row for seed, row in all_seeds.items() if metric in row}
            if 0 < len(of_seeds) < len(all_seeds):
                tell(what, f"seeds, {name}", [len(of_seeds)])
            if not of_seeds or name == BOOSTED or world == "no_effect":
                continue
            logs = [figures[f"{it}, {size}" if size else it] for it in JUDGED] if world == ALL else [of_seeds]
            worst = min(row[metric] for of in logs for row in of.values() if metric in row)
            tell(what, f"{metric}, worst log", [worst])
            for label, left_out in BESTS.items():
                best = best_of(of_seeds, left_out)
                margin = [row[metric] - row[f"Pearson, {best}"] for row in of_seeds.values()]
                peer = float(np.mean([row[f"Pearson, {best}"] for row in of_seeds.values()]))
                tell(what, f"{metric}, above {label}", margin, {best: peer})
    return rows


def goal_of(what: str, metric: str) -> tuple[str | None, Callable[[float], bool] | None]:
    """What was asked for: over the judged worlds, in the null world, and of the check in the confounded one."""
    world, _, size = what.partition(", ")
    for (where, of_size, begins), goal in GOALS.items():
        if where == world and of_size == size and metric in (begins.format(name) for name in (LEARNED, UNANSWERED)):
            return goal
    return EXACT_GOALS.get((what, metric), (None, None))


def show(rows: list[dict[str, object]], console: Console) -> None:
    """One table a log size: a row a metric, a column a world."""
    sizes = {str(row["what"]).partition(", ")[2]: None for row in rows}
    for size in sizes:
        mine = [row for row in rows if str(row["what"]).partition(", ")[2] == size]
        worlds = list(dict.fromkeys(str(row["what"]).partition(", ")[0] for row in mine))
        table = Table(title=f"recovery{', ' + size if size else ''}: mean over seeds (standard error)")
        for name in ("metric", *worlds):
            table.add_column(name)
        for metric in dict.fromkeys(str(row["metric"]) for row in mine):
            cells = {}
            for row in mine:
                if row["metric"] == metric and row["ours"] is not None:
                    mark = {True: " ok", False: " [red]no[/red]", None: ""}[row["met"]]
                    se = "" if row["se"] is None else f" ({row['se']:.3f})"
                    cells[str(row["what"]).partition(", ")[0]] = f"{row['ours']:.3f}{se}{mark}"
            table.add_row(metric, *(cells.get(name, "") for name in worlds))
        console.print(table)


def plot(rows: list[dict[str, object]], first_users: int, file: Path) -> None:
    """Pearson correlation with the true item effects by log size, one panel a world."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    told = {(str(row["what"]), row["metric"]): row for row in rows}
    worlds = [name for name in JUDGED if (name, "seeds") in told]
    figure, axes = plt.subplots(1, len(worlds), figsize=(3.1 * len(worlds), 3.6), sharey=True, squeeze=False)
    for axis, world in zip(axes[0], worlds, strict=True):
        others = {what for what, _ in told if what.startswith(f"{world}, ")}
        sizes = {first_users: world} | {int("".join(filter(str.isdigit, what))): what for what in others}
        for name, (colour, style) in DRAWN.items():
            there = [users for users in sorted(sizes) if (sizes[users], f"Pearson, {name}") in told]
            mine = [told[sizes[users], f"Pearson, {name}"] for users in there]
            values, errors = [row["ours"] for row in mine], [1.96 * (row["se"] or 0) for row in mine]
            axis.errorbar(there, values, errors, label=name, color=colour, linestyle=style, marker="o", markersize=3)
        axis.set_xscale("log")
        axis.set_xticks(sorted(sizes), [f"{users:,}" for users in sorted(sizes)], fontsize=8)
        axis.minorticks_off()
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_title(world.replace("_", " "), fontsize=10)
        axis.set_xlabel("users in the log")
    axes[0, 0].set_ylabel("correlation with true item effects")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(file, dpi=90)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", default=[*JUDGED, *OTHERS], help="names in conf/simulation/")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--users", nargs="+", type=int, default=[20_000, 5_000, 80_000], help="the truth is the first's"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=f"{list(PARTS)}")
    parser.add_argument("--parents-per-day", type=int, default=500, help="visits with paired runs, on each of 6 days")
    parser.add_argument("--cache", type=Path, default=ROOT / "outputs" / "recovery", help="what was computed")
    parser.add_argument("--from-cache", action="store_true", help="compute nothing, tell of what is there")
    parser.add_argument("--plot", type=Path, help="also draw correlations by log size (docs/recovery.png)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "recovery.json")
    chosen = parser.parse_args(arguments)
    console = Console(width=max(Console().width, 200))
    first = chosen.users[0]
    cases = {
        Case(name, seed, users, chosen.parents_per_day): [
            part for part in parts_of(name, users == first) if part in chosen.parts
        ]
        for users in chosen.users
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        for name in chosen.worlds
        if users == first or name in JUDGED
    }
    if not chosen.from_cache:
        compute(cases, chosen.cache, console)
    rows = rows_of(figures_of(cases, first, chosen.cache))
    show(rows, console)
    write_result(chosen.out, rows)
    if chosen.plot is not None:
        plot(rows, first, chosen.plot)


if __name__ == "__main__":
    main()
