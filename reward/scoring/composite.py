"""The composite reward: signals weighted by what past experiments say they are worth to the north star."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol, Self, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from reward.arrays import Doubles
from reward.frozen import Frozen, as_trained
from reward.moved import keywords_of_before
from reward.plain import check
from reward.rewards import Rewards
from reward.scoring.artifact import fresh_folder, read, read_back, save
from reward.scoring.candidates import Ids
from reward.scoring.function import RewardFunction, SetAside
from reward.scoring.history import Histories
from reward.scoring.manifest import CARD, MANIFEST, write_manifest
from reward.scoring.model_card import composite_card
from reward.scoring.requests import Request, ScoreOptions, beside, refuse_unfit_signals
from reward.scoring.sealed import Sealed
from reward.scoring.strategies import weighted_sum
from reward.targets import TARGET

REWARD, REWARD_STD = "reward", "reward_std"
_SYMMETRIC = 1e-8  # largest asymmetry or negative variance of a covariance, relative to its largest entry
_MOST_SIGNALS = 1000


class _Manifest(TypedDict):
    weights: dict[str, float]
    unit: str
    covariance: list[list[float]]
    functions: dict[str, str]
    facts: dict[str, Any]


class LearnedWeights(Protocol):
    """Weights of signals, as `reward.experiments.proxy_weights.ProxyWeights` has them."""

    method: str
    signals: tuple[str, ...]
    north_star: str
    weights: Doubles
    covariance: Doubles
    strength: float

    def table(self) -> pl.DataFrame:
        """A row a signal: ``weight``, ``low``, ``high`` and more."""


class Composite(Frozen):
    """``reward = Σ_j β_j · signal_j``, in the unit of the north star.

    A signal is a feedback column of the log, whose value is what the event brought; or a scoring function, whose value
    is its reward. It scores like a `RewardFunction`: frozen, deterministic, loaded by `reward.load`.

    ``reward_std² = (Σ_j |β_j| · std_j)² + sᵀ V s``: the errors of scoring functions are taken to go together, since
    they are trained on one log; s are the signals and V the covariance of the weights.

    What it cannot do: candidates have no feedback yet, so that `score_candidates` needs a scoring function for every
    signal; and a signal is worth β per unit only where experiments moved it as the ranker will.

    Attributes:
        unit: of the reward.
        signals: names in the order of the weights.
        functions: the scoring functions among the signals.
        facts: whatever else is to be known of it; plain JSON.

    Args:
        weights: β of each signal, by name.
        unit: see above.
        functions: of the signals that are not columns of the log.
        covariance: (signals, signals) of the weights; None: they are taken as they are.
        facts: see above.

    Raises:
        ValueError: no signals, a function that is not one of them, or a number or shape that does not fit.
    """

    weights: Tensor
    covariance: Tensor

    def __init__(
        self,
        weights: Mapping[str, float],
        unit: str,
        *,
        functions: Mapping[str, RewardFunction] | None = None,
        covariance: npt.ArrayLike | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.signals, self.unit, self.facts = tuple(weights), unit, dict(facts or {})
        strangers = [name for name in functions or {} if name not in weights]
        if not weights or strangers:
            raise ValueError(
                f"functions expected to be of the signals {', '.join(weights) or '(none were given)'}, got "
                f"{', '.join(strangers) or 'none'}"
            )
        count = len(self.signals)
        errors = np.zeros((count, count)) if covariance is None else np.asarray(covariance, np.float64)
        beta = np.array(list(weights.values()), np.float64)
        if errors.shape != (count, count) or not np.isfinite(errors).all() or not np.isfinite(beta).all():
            raise ValueError(
                f"expected finite weights and a finite covariance of shape ({count}, {count}), got weights "
                f"{beta.tolist()} and a covariance of shape {errors.shape}"
            )
        largest = np.abs(errors).max()
        if (
            np.abs(errors - errors.T).max() > _SYMMETRIC * largest
            or np.linalg.eigvalsh(errors)[0] < -_SYMMETRIC * largest
        ):
            raise ValueError(
                f"covariance expected a symmetric matrix without negative variances, got {errors.tolist()}: take "
                "that of the weights, as ProxyWeights has it"
            )
        self.functions = dict(functions or {})
        self.register_buffer("weights", torch.from_numpy(beta), persistent=False)
        self.register_buffer("covariance", torch.from_numpy(errors), persistent=False)
        self.eval()

    @classmethod
    def of(
        cls,
        weights: LearnedWeights,
        unit: str,
        *,
        functions: Mapping[str, RewardFunction] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Self:
        """The composite of learned weights, with their errors and where they come from.

        Args:
            weights: from `reward.experiments.proxy_weights`, learned on metrics that are sums of the signals over a
                user's events.
            unit: of the north star.
            functions: see `Composite`.
            facts: see `Composite`.
        """
        told = weights.table().with_columns(pl.col("low", "high").replace([np.inf, -np.inf], None))
        source = {
            "method": weights.method,
            "north_star": weights.north_star,
            "strength": weights.strength,
            "weights": told.to_dicts(),
        }
        return cls(
            dict(zip(weights.signals, weights.weights.tolist(), strict=True)),
            unit,
            functions=functions,
            covariance=weights.covariance,
            facts={"experiments": source, **(facts or {})},
        )

    def held(self) -> Iterator[tuple[str, nn.Module]]:
        """The scoring functions, by name."""
        yield from self.functions.items()

    def forward(self, history: Histories, items: Ids) -> Rewards:
        """`score_candidates`."""
        return self.score_candidates(history, items)

    @property
    def columns(self) -> tuple[str, ...]:
        """The signals that are feedback columns of the log."""
        return tuple(name for name in self.signals if name not in self.functions)

    @keywords_of_before(also="tasks")
    @as_trained
    def score_events(self, events: pl.DataFrame, **options: Unpack[ScoreOptions]) -> pl.DataFrame:
        """Score every row of a log.

        Args:
            events: the log, with the columns that the signals are and those that the scoring functions read.
            options: the other arguments of `RewardFunction.score_events`. A composite has no outcome of its own, so
                that it takes no ``tasks``, ``habit`` and ``as_of``.

        Returns:
            The same rows in the same order with ``reward`` and ``reward_std``, in `unit` (Float64).

        Raises:
            SchemaError: a signal's column is missing, is no number, or has nulls or what is not finite; or a
                function cannot score the log.
            ValueError: ``tasks``, ``habit`` or ``as_of`` is given.
        """
        return beside(events, self.scores(events, **options))

    @keywords_of_before(also="tasks")
    def scores(
        self, events: pl.DataFrame, *, set_aside: SetAside | None = None, **options: Unpack[ScoreOptions]
    ) -> pl.DataFrame:
        """What `score_events` adds to a log, without the log; ``set_aside`` is that of `RewardFunction.scores`."""
        asked = Request(**options)
        if asked.tasks or asked.habit is not None or asked.as_of is not None:
            raise ValueError(
                "a composite expected no tasks, habit or as_of: it predicts no outcome, score its functions"
            )
        refuse_unfit_signals(events, self.columns)
        scored = {
            name: function.scores(events, set_aside=set_aside, **options).select(REWARD, REWARD_STD)
            for name, function in self.functions.items()
        }

        def signal(name: str) -> tuple[Tensor, Tensor]:
            if name in scored:
                mean, std = (
                    torch.from_numpy(scored[name][column].to_numpy().copy()) for column in (REWARD, REWARD_STD)
                )
                return mean, std
            value = torch.from_numpy(events[name].cast(pl.Float64).to_numpy().copy())
            return value, torch.zeros_like(value)

        rewards = self._sum(signal, self.weights.cpu(), self.covariance.cpu())
        found = {REWARD: rewards.mean.numpy(), REWARD_STD: rewards.std.numpy()}
        return pl.DataFrame(found).select(pl.all().fill_nan(None))  # where a function has no score

    def encode(
        self,
        events: pl.DataFrame,
        *,
        now: datetime | pl.DataFrame,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
    ) -> Histories:
        """Read users' histories once, by every scoring function; see `RewardFunction.encode`.

        Raises:
            ValueError: a signal is a column of the log, which candidates do not have.
        """
        self._no_columns()
        return Histories(
            {
                name: function.encode(events, now=now, items_table=items_table, history_start=history_start)
                for name, function in self.functions.items()
            }
        )

    @as_trained
    def score_candidates(self, history: Histories, items: Ids, *, items_table: pl.DataFrame | None = None) -> Rewards:
        """Score showing each candidate next; see `RewardFunction.score_candidates`.

        Returns:
            Rewards of shape (users, candidates) in `unit`, float32.

        Raises:
            ValueError: a signal is a column of the log, which candidates do not have; or ``items`` does not fit.
        """
        self._no_columns()
        if history.of.keys() != self.functions.keys():
            raise ValueError(
                f"history expected one that this composite encoded, of {', '.join(self.functions)}, got one of "
                f"{', '.join(history.of)}: encode the events again with this composite"
            )

        def signal(name: str) -> tuple[Tensor, Tensor]:
            mean, std = self.functions[name].score_candidates(history.of[name], items, items_table=items_table)
            return mean, std

        return self._sum(signal, self.weights, self.covariance)

    def unknown_items(self, items: Ids, items_table: pl.DataFrame | None = None) -> int:
        """How many of ``items`` are not in the vocabulary of the function that knows fewest of them."""
        return max((one.unknown_items(items, items_table) for one in self.functions.values()), default=0)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write it as an artefact that `reward.load` reads: plain JSON, and its functions' artefacts inside.

        Raises:
            FileExistsError: what is there is not an artefact.
            ValueError: `reward.load` would refuse it; nothing is written.
        """
        with fresh_folder(folder) as fresh:
            weights = dict(zip(self.signals, self.weights.tolist(), strict=True))
            places = {name: f"signals/{number}" for number, name in enumerate(self.functions)}
            for name, place in places.items():
                save(self.functions[name], fresh / place)
            card = composite_card(self.unit, weights, self.covariance.diagonal().sqrt(), self.functions, self.facts)
            (fresh / CARD).write_text(card, encoding="utf-8")
            manifest = {
                TARGET: f"{type(self).__module__}.{type(self).__qualname__}",
                "unit": self.unit,
                "weights": weights,
                "covariance": self.covariance.tolist(),
                "functions": places,
                "facts": self.facts,
            }
            write_manifest(fresh, manifest, [CARD, *(f"{place}/{MANIFEST}" for place in places.values())])
            read_back(fresh, self.functions.values())
        return Path(folder)

    @classmethod
    def read(cls, sealed: Sealed, trust: frozenset[str]) -> Self:
        """What `reward.load` calls once the manifest is known to be whole.

        Raises:
            ValueError: something in it does not fit.
        """
        sealed.require(CARD)
        sealed.read_card()
        manifest = sealed.manifest
        check(manifest, _Manifest, "the manifest")
        strangers = sorted(manifest["functions"].keys() - manifest["weights"].keys())
        if strangers or not 0 < len(manifest["weights"]) <= _MOST_SIGNALS:
            raise ValueError(f"its functions expected to be of 1 to {_MOST_SIGNALS} signals")
        if len({*manifest["functions"].values()}) < len(manifest["functions"]):
            raise ValueError("two of its functions are one artefact")
        functions = {}
        for name, place in manifest["functions"].items():
            with sealed.within(place) as inner:
                functions[name] = read(inner, trust)
        told = {name: manifest[name] for name in ("weights", "unit", "covariance", "facts")}
        return cls(**told, functions=functions)

    def _sum(self, signal: Callable[[str], tuple[Tensor, Tensor]], weights: Tensor, covariance: Tensor) -> Rewards:
        """Rewards of signals, each given as mean and standard deviation of one shape."""
        means, stds = zip(*map(signal, self.signals), strict=True)
        mean, std = torch.stack(means, -1), torch.stack(stds, -1)  # (..., signals)
        return weighted_sum(mean, std, weights, covariance)

    def _no_columns(self) -> None:
        if self.columns:
            raise ValueError(
                f"candidates have no feedback yet: expected a scoring function for every signal, "
                f"{', '.join(self.columns)} are columns of the log; score_events scores what was shown"
            )
