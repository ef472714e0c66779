"""All that is told of a log's rows, from one reading of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
import torch

from reward.arrays import Doubles
from reward.columns import USER
from reward.features.events import ItemTable
from reward.heads import Head
from reward.outcomes.protocol import ABSENT, STATES, Outcome
from reward.scoring.as_of import DaysKnown
from reward.scoring.forecaster import Forecaster
from reward.scoring.readout import LogStates, Readout
from reward.scoring.requests import Outputs, Request
from reward.scoring.strategies import Strategy
from reward.sequences.stream import Items

VALUES = ("value_before", "value_exposed", "value_after")
SCORES = (*VALUES, "reward", "reward_std")
AS_OF = "value_as_of"
_FORECAST, _EXPECTED = "forecast", "expected "


@dataclass(frozen=True)
class Prediction:
    """What was asked of a log, row by row, in the order in which the rows came; rows that are set aside have nothing.

    Attributes:
        scores: what `RewardFunction.scores` gives.
        forecast: (rows, H) probability, after each row's feedback, of being active on each of the next H days; of no
            days where it was not asked for.
        expected: (rows, parts) of the outcomes of tasks, by name; see `RewardFunction.expected`.
        values_as_of: (rows, moments) see `RewardFunction.values_as_of`.
    """

    scores: pl.DataFrame
    forecast: Doubles
    expected: dict[str, Doubles]
    values_as_of: Doubles


def predicted(
    forecaster: Forecaster,
    outcome: Outcome,
    rewards: Sequence[Strategy],
    reading: LogStates,
    request: Request,
    outputs: Outputs,
) -> Prediction:
    """What a request asks of a log.

    Args:
        forecaster: what tells the values.
        outcome: that of the values.
        rewards: what tells the rewards; none where no scores are asked for.
        reading: the log.
        request: what is asked of it.
        outputs: what is told.
    """
    found = reading.read_off(_readouts(forecaster, rewards, reading, request, outputs))
    log, source = reading.log, reading.stream.events.source
    moments, head = all_moments(request, outputs), forecaster.network.head
    known = np.zeros((len(source), 0))
    if moments:
        rows = log.events[source]
        known = DaysKnown(rows, reading.stream, found[_FORECAST], forecaster.features, outcome, head).at(moments)
    columns = {name: numbers[:, 0] for name, numbers in found.items() if numbers.shape[1] == 1}
    for reward in rewards:
        columns |= dict(zip(reward.columns, reward.of_rows(reading, found, request.items_table).T, strict=True))
    if request.as_of is not None:
        columns[AS_OF] = known[:, -1]
    scores = {name: columns[name] for name in score_names(forecaster, rewards, request)}
    days = found[_FORECAST] if outputs.forecast else np.zeros((len(source), 0))
    return Prediction(
        log.in_order(source, scores),
        log.table(source, days),
        {name: log.table(source, found[f"{_EXPECTED}{name}"]) for name in outputs.expected},
        log.table(source, known[:, : len(outputs.moments)]),
    )


def predicted_of_nothing(
    forecaster: Forecaster, rewards: Sequence[Strategy], request: Request, outputs: Outputs
) -> Prediction:
    """What a request asks of a log without rows."""
    days = forecaster.network.head.horizon_days if outputs.forecast else 0
    return Prediction(
        pl.DataFrame(schema=dict.fromkeys(score_names(forecaster, rewards, request), pl.Float64)),
        np.zeros((0, days)),
        {name: _expected_of_nothing(forecaster, name) for name in outputs.expected},
        np.zeros((0, len(outputs.moments))),
    )


def score_names(forecaster: Forecaster, rewards: Sequence[Strategy], request: Request) -> list[str]:
    """The columns of the scores that a request asks for; none of ``rewards``, none at all."""
    if not rewards:
        return []
    further = [f"{name}_{state}" for name in request.tasks for state in forecaster.tasks[name].states]
    first, *others = (reward.columns for reward in rewards)
    told = [*VALUES, *first, *further, *(name for columns in others for name in columns)]
    return told if request.as_of is None else [*told, AS_OF]


def distributed(forecaster: Forecaster, reading: LogStates, name: str | None) -> pl.DataFrame:
    """The whole distribution of an outcome after each user's last event, see `RewardFunction.distribution`.

    Args:
        forecaster: what tells it.
        reading: the log.
        name: of a task; None: the one that rewards are measured in.
    """
    task = forecaster.reward if name is None else name
    head, state = _asked_in(forecaster, task)
    asked = forecaster.questions(reading.stream.events.items, [task])
    key = next(iter(asked), state)
    whole = Readout(lambda states: states[key], forecaster.network.state_width, after=state == "after", asked=asked)
    last = reading.read_off({key: whole})[key][reading.stream.offsets[1:] - 1]
    outcome, probability = head.distribution(torch.from_numpy(last).float().to(forecaster.device))
    users = reading.stream.users
    return pl.DataFrame(
        {
            USER: users.gather(np.repeat(np.arange(len(users)), len(outcome))),
            "outcome": outcome.cpu().double().repeat(len(users)).numpy(),
            "probability": probability.cpu().double().flatten().numpy(),
        }
    )


def all_moments(request: Request, outputs: Outputs) -> tuple[datetime, ...]:
    """Those whose values are told, and last the one that the scores tell of."""
    return (*outputs.moments, *(() if request.as_of is None else (request.as_of,)))


def _readouts(
    forecaster: Forecaster, rewards: Sequence[Strategy], reading: LogStates, request: Request, outputs: Outputs
) -> dict[str, Readout]:
    items = reading.stream.events.items
    readouts = _values(forecaster) if rewards else {}
    for name in request.tasks:
        readouts |= _further_values(forecaster, items, name)
    for reward in rewards:
        readouts |= reward.readouts(items)
    if outputs.forecast or all_moments(request, outputs):
        readouts[_FORECAST] = _days(forecaster)
    for name, asked in outputs.expected.items():
        given = None if asked is None else reading.log.asked(asked)[reading.stream.events.source]
        readouts[f"{_EXPECTED}{name}"] = _parts(forecaster, items, name, given)
    return readouts


def _values(forecaster: Forecaster) -> dict[str, Readout]:
    """V(Q), V(E) and V(F), by the names of their columns."""
    head = forecaster.network.head
    return {name: _value(head, state, state) for name, state in zip(VALUES, STATES, strict=True)}


def _further_values(forecaster: Forecaster, items: ItemTable, name: str) -> dict[str, Readout]:
    """The outcome of a task in each of its states, by the names of their columns."""
    head, asked = forecaster.head(name), forecaster.questions(items, [name])
    return {
        f"{name}_{state}": _value(head, state, forecaster.scope(name) if state == ABSENT else state, asked)
        for state in forecaster.tasks[name].states
    }


def _value(head: Head, state: str, key: str, asked: Mapping[str, Items] | None = None) -> Readout:
    """The mean over members of what a head expects in a state, which goes by ``key``."""
    return Readout(
        lambda states: states.value(head, key).mean(-1, keepdim=True), after=state == "after", asked=asked or {}
    )


def _days(forecaster: Forecaster) -> Readout:
    """Probabilities of being active on each of the days after an event."""
    head = forecaster.network.head
    return Readout(lambda states: head.probabilities(states["after"]), head.horizon_days, after=True)


def _parts(forecaster: Forecaster, items: ItemTable, name: str, given: pl.Series | None) -> Readout:
    """The parts of a task's outcome that are expected; ``given``: what each event is asked about, None: its own."""
    head, state = _asked_in(forecaster, name)
    key, asked = state, forecaster.questions(items, [name])
    if state == ABSENT:
        scope = forecaster.scope(name)
        key = scope if given is None else f"{ABSENT} {name}"
        asked = asked if given is None else {key: Items.of(forecaster.features.groups(scope, given))}
    width = _expected_of_nothing(forecaster, name).shape[-1]
    return Readout(lambda states: head.expected(states[key]), width, after=state == "after", asked=asked)


def _asked_in(forecaster: Forecaster, name: str) -> tuple[Head, str]:
    """The head of a task, and the state in which it is asked of."""
    return forecaster.head(name), forecaster.latest_state(name)


def _expected_of_nothing(forecaster: Forecaster, name: str) -> Doubles:
    """(0, parts)."""
    none = torch.zeros(0, forecaster.network.state_width, device=forecaster.device)
    found: Doubles = forecaster.head(name).expected(none).cpu().double().numpy()
    return found
