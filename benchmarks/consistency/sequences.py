"""Sequences of states that end or are censored: two random walks, treatments that share what follows, two clinics.

A walk is generated draw by draw in the published order, so that its first replicates are the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

PUBLISHERS = {
    "pbcseq.csv": "as pbcseq of the R package survival (https://cran.r-project.org/package=survival)",
    "aids.csv": "as aids of the R package JM (https://cran.r-project.org/package=JM)",
}


@dataclass(frozen=True)
class Sequences:
    """Sequences laid end to end: one row a state.

    Attributes:
        states: (rows, features) numbers, or (rows,) codes of discrete states.
        sequence: (rows,), which sequence a row belongs to, from 0 and in order.
        steps: (rows,), steps from the state to the end, or to the last state where the sequence is censored (there 0).
        ended: (rows,), the sequence ended; otherwise it was censored.
        horizon: steps that are predicted.
    """

    states: Tensor
    sequence: Tensor
    steps: Tensor
    ended: Tensor
    horizon: int

    @classmethod
    def of(cls, states: list[np.ndarray], steps: np.ndarray, censored: np.ndarray, horizon: int) -> Sequences:
        """From one array of states a sequence; a censored one has a state more than steps."""
        lengths = np.array([len(each) for each in states])
        place = np.concatenate([np.arange(length) for length in lengths])
        return cls(
            torch.from_numpy(np.concatenate(states)),
            torch.from_numpy(np.repeat(np.arange(len(states)), lengths)),
            torch.from_numpy(np.repeat(steps, lengths) - place),
            torch.from_numpy(np.repeat(~censored, lengths)),
            horizon,
        )

    def __len__(self) -> int:
        return int(self.sequence[-1]) + 1

    @property
    def first(self) -> Tensor:
        """Whether a row is its sequence's initial state."""
        return torch.cat([torch.ones(1, dtype=torch.bool), self.sequence.diff() > 0])

    @property
    def gap(self) -> Tensor:
        """Steps to the row's next state: 1, or the horizon where none follows."""
        ends = torch.cat([self.sequence.diff() > 0, torch.ones(1, dtype=torch.bool)])
        return torch.where(ends, self.horizon, 1)

    def take(self, chosen: np.ndarray) -> Sequences:
        """The chosen sequences, in that order."""
        start = torch.searchsorted(self.sequence, torch.arange(len(self) + 1))
        rows = torch.cat([torch.arange(start[each], start[each + 1]) for each in chosen])
        sizes = (start[1:] - start[:-1])[torch.from_numpy(np.asarray(chosen))]
        renamed = torch.repeat_interleave(torch.arange(len(chosen)), sizes)
        return Sequences(self.states[rows], renamed, self.steps[rows], self.ended[rows], self.horizon)

    def initial(self) -> Sequences:
        """The initial states alone."""
        rows = self.first
        return Sequences(self.states[rows], torch.arange(len(self)), self.steps[rows], self.ended[rows], self.horizon)


@dataclass(frozen=True)
class Replicate:
    """One training set, of which the first n sequences are used, and what it is tested on."""

    train: Sequences
    test: Sequences


def random_walk(replicates: int, *, mended: bool, seed: int = 0, tests: int = 10_000) -> list[Replicate]:
    """Gaussian states in 20 dimensions that end with a chance that is logistic in the state.

    As published, a state after the first is noise alone: the generator reads a row that it has not written yet.
    Mended, it is the state before it plus noise. All replicates share the coefficients and the test set.
    """
    rng = np.random.default_rng(seed)
    dimensions, horizon = 20, 10
    coefficients = rng.normal(size=dimensions)

    def draw(count: int) -> Sequences:
        walks, steps, censored = [], np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
        for each in range(count):
            states = [rng.normal(size=dimensions)]
            while True:
                chance = 1 / (1 + np.exp(3 - states[-1] @ coefficients))
                if len(states) > horizon or rng.uniform() < chance:
                    break
                states.append(0.5 * rng.normal(size=dimensions) + (states[-1] if mended else 0.0))
            censored[each] = len(states) > horizon
            steps[each] = min(len(states), horizon)
            walks.append(np.column_stack([states, np.ones(len(states))]))
        return Sequences.of(walks, steps, censored, horizon)

    test = draw(tests)
    return [Replicate(draw(300), test) for _ in range(replicates)]


def pooled_treatments(treatments: int, rng: np.random.Generator) -> tuple[Sequences, np.ndarray]:
    """Ten sequences a treatment that go on to one of 20 shared states, ten mild and ten harsh, for at most five steps.

    Returns:
        The sequences, of states coded 0 to 19 and from 20 on the treatments, and each treatment's chance of harsh.
    """
    horizon, copies, samples = 5, 10, 10
    hazards = np.array([0.02, 0.04])
    harsh = rng.random(treatments)
    states, steps, censored = [], [], []
    for treatment in range(treatments):
        for _ in range(samples):
            kind = int(rng.random() < harsh[treatment])
            left = int(rng.geometric(hazards[kind]))
            code = copies * kind + int(rng.choice(copies))
            late = left >= horizon
            length = horizon + 1 if late else 1 + left
            states.append(np.array([2 * copies + treatment] + [code] * (length - 1)))
            steps.append(min(1 + left, horizon))
            censored.append(late)
    return Sequences.of(states, np.array(steps), np.array(censored), horizon), harsh


def _table(folder: Path, name: str, **reading) -> pl.DataFrame:
    if not (folder / name).exists():
        raise FileNotFoundError(f"{folder / name} is missing; it is published {PUBLISHERS[name]}: save it there as CSV")
    return pl.read_csv(folder / name, null_values="NA", infer_schema_length=None, **reading)


def _sequences(frame: pl.DataFrame, by: str, features: list[str], died: str) -> Sequences:
    """Visits as states: death ends a sequence one step after the last visit, the others are censored at it."""
    groups = [group for _, group in frame.group_by(by, maintain_order=True)]
    states = [group.select(features).cast(pl.Float64).to_numpy() for group in groups]
    censored = np.array([not group[died][0] for group in groups])
    visits = np.array([len(each) for each in states])
    return Sequences.of(states, visits - censored, censored, int(visits.max()))


def pbc2(folder: Path) -> Sequences:
    """312 patients with cirrhosis of the liver, by visit; a transplant censors. Features as published."""
    frame = _table(folder, "pbcseq.csv")
    gaps = ["ascites", "hepato", "spiders", "chol", "alk.phos", "platelet"]
    logged = ["bili", "chol", "albumin", "alk.phos", "ast", "platelet", "protime"]
    frame = frame.with_columns(
        (pl.col("sex") == "f").alias("sex"),
        ((pl.col("age") - pl.col("age").mean()) / pl.col("age").std()).alias("age"),
        (pl.col("status") == 2).alias("died"),
        *(pl.col(name).fill_null(pl.col(name).median()) for name in gaps),
    ).with_columns((pl.col(name).log1p() - pl.col(name).log1p().mean()).alias(name) for name in logged)
    binary = ["trt", "age", "sex", "ascites", "hepato", "spiders", "edema"]
    return _sequences(frame, "id", [*binary, *logged, "stage"], "died")


def aids(folder: Path) -> Sequences:
    """467 patients with HIV, by visit. Features as published: the number of the visit is one."""
    frame = _table(folder, "aids.csv").with_columns(
        (pl.col("drug") == "ddC").alias("drug"),
        (pl.col("gender") == "female").alias("gender"),
        (pl.col("prevOI") == "AIDS").alias("prevOI"),
        (pl.col("AZT") == "intolerance").alias("AZT"),
        (pl.col("CD4").sqrt() - pl.col("CD4").sqrt().mean()).alias("CD4"),
        pl.int_range(pl.len()).over("patient").alias("visit"),
        (pl.col("death") == 1).alias("died"),
    )
    return _sequences(frame, "patient", ["drug", "gender", "prevOI", "AZT", "CD4", "visit"], "died")


def folds(data: Sequences, replicates: int, *, seed: int) -> list[Replicate]:
    """Five folds in a random order; after five replicates, another order of the next seed."""
    found, count = [], len(data)
    for turn in range(-(-replicates // 5)):
        order = np.random.default_rng(seed + turn).permutation(count)
        cuts = [int(count / 5 * fold) for fold in range(5)] + [count]
        for low, high in pairwise(cuts):
            left = np.concatenate([order[:low], order[high:]])
            found.append(Replicate(data.take(left), data.take(order[low:high])))
    return found[:replicates]
