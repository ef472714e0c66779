"""The second stage of a run: effects, how far they can be believed, and the truth where it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from reward.causal.diagnostics.summary import EffectSummary, not_estimated, summarize_effects
from reward.causal.propensity.plausibility import check_propensities
from reward.causal.protocol import EffectModel, EstimatedEffects
from reward.columns import PROPENSITY
from reward.data.event_log import SchemaError
from reward.data.prepared import PreparedLog
from reward.data.split import Split
from reward.evaluation.simulated_truth import TRUTH, beside_truth
from reward.outcomes.protocol import has_effects
from reward.training.terminal import console
from reward.writing import whole, write_json


def estimate_effects(
    prepared: PreparedLog, outcome: Any, window: Split, config: DictConfig, folder: Path
) -> tuple[EffectSummary, EffectModel | None]:
    """The second stage on what training and validation saw: ``effects.parquet``.

    Returns what the artefact says of it, and what its rewards are made of: None where effects cannot be estimated.
    Propensities that the log lacks are estimated from it; either kind is checked by balance.
    """
    known = prepared.known_at(window.validation_end)
    try:
        with console.status("estimating the effects of items ..."):
            found, effects = estimated_effects(known, outcome, config)
    except SchemaError as error:
        found, personal = not_estimated(str(error)), None
    else:
        personal = effects.model
        with whole(folder / "effects.parquet") as scratch:
            effects.items.write_parquet(scratch)
    return found, personal


def compare_with_truth(prepared: PreparedLog, window: Split, config: DictConfig, folder: Path) -> None:
    """What items truly do beside what was learned of them, ``truth.parquet``, where a simulated world knows it.

    The world's constants are written beside it, ``world.json``: a seed may have drawn them.
    """
    if config.truth is not None:
        write_json(folder / "world.json", asdict(instantiate(config.truth.world)))
    learned = folder / "effects.parquet"
    if config.truth is None or not learned.is_file():
        return
    try:
        with console.status("measuring by paired runs what items truly do ..."):
            true = instantiate(config.truth)()
    except SchemaError as error:
        console.print(f"What items truly do was not measured: {error}")
        return
    known = prepared.known_at(window.validation_end).log
    with whole(folder / TRUTH) as scratch:
        beside_truth(true, pl.read_parquet(learned), known.events, known.click).write_parquet(scratch)


def estimated_effects(
    prepared: PreparedLog, outcome: Any, config: DictConfig, roles: Mapping[str, Any] | None = None
) -> tuple[EffectSummary, EstimatedEffects]:
    """How far the effects of items can be believed, and the effects.

    ``roles`` are ``gate``, ``rare`` and ``group`` where they are not to be chosen as ``config`` says; those that the
    estimator does not have are left out.

    Raises:
        SchemaError: the log or the outcome does not allow for it.
    """
    if not has_effects(outcome):
        raise SchemaError(
            "they need an outcome of the user that is told day by day, such as task=[active_days] with "
            f"scope=user, and it tells {outcome.unit}"
        )
    estimated, unused, events = None, check_propensities(prepared), prepared.log.events
    if unused is None and PROPENSITY in events.collect_schema().names():
        propensity = events.select(PROPENSITY).collect().to_series().to_numpy()
    else:
        estimated = instantiate(config.propensities, _convert_="all")(prepared)
        propensity = estimated.propensity
    kept = {name: value for name, value in (roles or {}).items() if name in config.causal}
    effects = instantiate(config.causal)(prepared, outcome, seed=config.seed, propensity=propensity, **kept)
    balance, unchecked = None, ""
    try:
        balance = instantiate(config.balance)(prepared, propensity, half=None if estimated is None else estimated.half)
    except SchemaError as error:
        unchecked = str(error)
    model = effects.model
    personal = None if model is None else (model.calibration, model.personal_calibration)
    found = summarize_effects(
        effects.calibration,
        estimated,
        balance,
        personal=personal,
        pushed=effects.pushed,
        unchecked=unchecked,
        chosen=effects.chosen,
        unused=unused,
        points=outcome.points,
    )
    return found, effects
