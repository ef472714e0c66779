"""A log of a simulated world, its true item effects, and the arrays that are kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import polars as pl
from harness import Arrays, Benchmark, kept
from hydra.utils import instantiate
from omegaconf import DictConfig
from worlds import HORIZON_DAYS

from reward.causal.estimate import ItemEffects
from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.simulation.lives import Service, open_service
from reward.simulation.paired_runs import paired_runs
from reward.simulation.slate_policies import logging_policy
from reward.simulation.true_effects import effects_from_pairs, segments_of
from reward.simulation.world import World
from reward.training.defaults import composed

TRUTH = "truth"
LEAST_EXPOSURES = 200  # an item with fewer is not judged
ANSWERS = ("survey", "like")  # feedback that in these worlds nearly reads satisfaction


@dataclass(frozen=True)
class Case:
    """One world, seed and number of users; what is slow is made when it is first asked for.

    Attributes:
        name: of ``conf/simulation/name.yaml``; ``drawn``: the world that the seed draws.
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

    @property
    def told(self) -> list[str]:
        """What ``train.py`` would be told, to draw the same log."""
        told = ["data=world", f"simulation={self.name}", f"simulation.users={self.users}", f"seed={self.seed}"]
        where = "+simulation.constants" if self.name == "drawn" else "simulation"
        return told + [f"{where}.{name}={value}" for name, value in self.changes]

    @cached_property
    def config(self) -> DictConfig:
        """What ``train.py`` would use."""
        return composed("train", self.told)

    @cached_property
    def world(self) -> World:
        """Its constants."""
        return instantiate(self.config.simulation)

    @cached_property
    def service(self) -> Service:
        """The simulated service; of it no estimator reads more than the number of users and items."""
        return open_service(self.world, self.seed)

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


def true_effects(case: Case) -> Arrays:
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
    truth = effects_from_pairs(pairs, segment, service.catalogue.kind)
    return {name: getattr(truth, name) for name in ("mean", "se", "by_segment", "by_segment_se")}


def fitted(case: Case, log: EventLog, propensity: np.ndarray | None = None, **changes) -> ItemEffects:
    """What the second stage finds in a log."""
    told = case.config.causal
    rare = [name for name in told.rare if name in log.feedback]
    fit = instantiate(told, seed=case.seed, **({"rare": rare} | changes))
    return fit(log, instantiate(case.config.task.active_days.outcome), propensity=propensity)


def changed(case: Case) -> list[str]:
    """The constants that are other than the yaml's, in words."""
    return [f"{name}={value:g}" for name, value in case.changes]


def file_of(folder: Path, case: Case, part: str) -> Path:
    """Where the arrays of a part are kept."""
    words = [case.name, *changed(case), case.seed, case.users, part.replace(",", "").replace(" ", "-")]
    return folder / ("_".join(map(str, words + [case.parents_per_day] * (part == TRUTH))) + ".npz")


def compute(
    bench: Benchmark, cases: Mapping[Case, list[str]], folder: Path, how: Mapping[str, Callable[[Case], Arrays]]
) -> None:
    """Computes the parts that are not kept yet, by the functions in ``how``, and keeps each as soon as it is there."""
    missing = [(case, part) for case, parts in cases.items() for part in parts]
    missing = [(case, part) for case, part in missing if not file_of(folder, case, part).exists()]
    own = None
    for case, part in bench.progress(missing, "worlds, seeds and estimators"):
        if own != case:
            own = replace(case)  # a fresh copy, so that the log of the last one is forgotten
        bench.console.log(", ".join([case.name, *changed(case), f"seed {case.seed}", f"{case.users:,} users: {part}"]))
        kept(file_of(folder, case, part), partial(how[part], own))


def found_of(case: Case, folder: Path, parts: Iterable[str]) -> dict[str, Arrays]:
    """Those of ``parts`` that are kept, by name."""
    found = {part: kept(file_of(folder, case, part)) for part in parts}
    return {part: arrays for part, arrays in found.items() if arrays is not None}
