"""The scoring function: a trained network with everything it takes to score a log, as one folder or one module."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._compile import _disable_dynamo

from reward.causal.protocol import EffectModel, StateOfUsers
from reward.columns import ITEM, SESSION, TIMESTAMP, USER
from reward.data.days import TRACE, days_since_1970, local_day
from reward.data.event_log import EventLog, SchemaError, slate_moment
from reward.data.split import EPOCH
from reward.data.validation import DUPLICATE, SetAsideWarning, check, row_keys
from reward.encoders import Memory
from reward.features.events import Features, ItemTable
from reward.frozen import Frozen, as_trained
from reward.heads import Head
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.habit import Habit, habits
from reward.outcomes.protocol import ABSENT, ASKED, STATES, AbsentOutcome, Outcome
from reward.rewards import Rewards, exposure
from reward.sequences.network import Past, RewardNetwork, codes_of
from reward.sequences.stream import Batch, Items, Stream, Tokens, Windows

SCORES = ("value_before", "value_exposed", "value_after", "reward", "reward_std")
AS_OF = "value_as_of"
HABIT = ("habit", "habit_std")
SCORED = "scored_"  # before the name of a score where the log has a column of that name
_BATCH_ROWS = 2048  # a quarter of the memory of 8192, and no slower
_HEADS = ("head.", "also.")
_ATTENTION_CELLS = 1 << 24

Ids = Sequence[Any] | pl.Series | NDArray[Any] | Tensor
Progress = Callable[[Sequence[Any]], Iterable[Any]]
SetAside = Callable[["RewardFunction", Mapping[str, int]], None]
_Score = Callable[["History", Tensor], Rewards]
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _eager(method: _Method) -> _Method:
    """Leave ``method`` out of torch.compile, which cannot trace a data frame.

    As `torch.compiler.disable` does, and without loading the compiler before the method is called.
    """
    return cast(_Method, _disable_dynamo(method))


@dataclass(frozen=True)
class History:
    """Users' histories, read once, each with the slot that is about to be filled.

    Attributes:
        users: whose row is whose.
        memory: what the encoder keeps of each history, (users, length, ·).
        slots: the slots, (users, 1).
        visible: events each slot reads, (users, 1).
        past: what the slots recall of each history; None where the function's recall nothing.
        standing: what the effects read of each history; None where the function has no effects.
        encoded_by: the `RewardFunction.fingerprint` of the function that read them, which alone can score with them;
            None: nobody says.
    """

    users: pl.Series
    memory: Memory
    slots: Tokens
    visible: Tensor
    past: Past | None = None
    standing: StateOfUsers | None = None
    encoded_by: str | None = None

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> History:
        """The chosen rows."""
        rows = torch.arange(len(self))[index]
        return self._map(lambda tensor: tensor[rows.to(tensor.device)], self.users[rows.numpy()])

    def to(self, device: torch.device | str) -> History:
        """The same histories on ``device``."""
        return self._map(lambda tensor: tensor.to(device), self.users)

    def _map(self, change: Callable[[Tensor], Tensor], users: pl.Series) -> History:
        memory = Memory(
            change(self.memory.states), change(self.memory.hours), tuple(change(layer) for layer in self.memory.layers)
        )
        standing = None if self.standing is None else self.standing.map(change)
        past = None if self.past is None else Past(*map(change, self.past))
        slots = Tokens(*map(change, self.slots))
        return History(users, memory, slots, change(self.visible), past, standing, self.encoded_by)


class _Read(NamedTuple):
    """A log to score: its clean rows, repeated ones once; and which of the rows that came are set aside."""

    events: pl.DataFrame
    aside: pl.Series


class _Fillings(NamedTuple):
    """What slots may be filled with: (..., D) and (..., codes), see `codes_of`."""

    vector: Tensor
    codes: Tensor

    def at(self, place: Tensor) -> _Fillings:
        return _Fillings(self.vector[place], self.codes[place])


class RewardFunction(Frozen):
    """Scores what showing an item does to a user's mid-term outcome.

    Frozen and always in eval mode, also as a part of a module that is training, see `Frozen`; deterministic; a score
    depends on the user's own history alone. Make one with `reward.load`.

    In forked processes, such as a DataLoader's workers, `score_candidates` works; what reads frames (`score_events`,
    `encode`, an ``items_table``) needs workers that are spawned, because the threads of polars do not survive a fork.

    Attributes:
        features: how a log's columns become the network's inputs.
        outcome: what is predicted; `unit` and `horizon_days` are its.
        facts: training window, log fingerprint, metrics and whatever else the artefact says of itself; plain JSON.
        effects: what rewards are made of: effects estimated causally from the log. None: there are none, and rewards
            are exposure terms, differences of the network's forecasts.
        also: further outcomes that are predicted, by name; see `units` and `habits`.

    Args:
        network: trained and calibrated.
        features: see above.
        outcome: see above.
        max_events: longest history a slot reads.
        timestamp_unit: of logs whose timestamps are integers.
        facts: see above.
        effects: see above.
        also: see above; of each of the heads in ``network.also``.
    """

    def __init__(
        self,
        network: RewardNetwork,
        features: Features,
        outcome: ActivityTrace,
        *,
        max_events: int,
        timestamp_unit: str | None,
        facts: Mapping[str, Any],
        effects: EffectModel | None = None,
        also: Mapping[str, Outcome] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.outcome = outcome
        self.max_events = max_events
        self.timestamp_unit = timestamp_unit
        self.facts = dict(facts)
        self.effects = effects
        self.also = dict(also or {})
        self._fingerprint: tuple[EffectModel | None, str] | None = None
        known = features.items[ITEM]
        self._ids = known.to_numpy()
        self._inputs = features.item_inputs(known.extend_constant(None, 1))
        self.eval()

    def forward(self, history: History, items: Ids) -> Rewards:
        """`score_candidates`."""
        return self.score_candidates(history, items)

    @property
    def unit(self) -> str:
        """What one point of a value or a reward means."""
        return self.outcome.unit

    @property
    def units(self) -> dict[str, str]:
        """What one point of the value of each further outcome means, by name."""
        return {name: outcome.unit for name, outcome in self.also.items()}

    @property
    def habits(self) -> dict[str, Habit]:
        """Rewards of bringing an item, creator or show up, by scope, where all three of their parts are predicted."""
        return habits(self.also)

    @property
    def horizon_days(self) -> int:
        """H, the days an outcome is summed over."""
        return self.outcome.horizon_days

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def fingerprint(self) -> str:
        """Of how it reads a log: two loads of one artefact have the same, and histories of one fit the other.

        A hash of the weights that read, of how columns become inputs, of the items, and of the effects.
        """
        if self._fingerprint is None or self._fingerprint[0] is not self.effects:
            self._fingerprint = self.effects, self._hashed()
        return self._fingerprint[1]

    def _hashed(self) -> str:
        """Without polars, which a forked process cannot use."""
        effects = None if self.effects is None else self.effects.digest()
        told = [self.features.to_json(), self.max_events, repr(self.network.encoder), self._ids.tolist(), effects]
        found = hashlib.sha256(json.dumps(told).encode())
        weights = {name: part for name, part in self.network.state_dict().items() if not name.startswith(_HEADS)}
        arrays = {name: part.cpu().numpy() for name, part in weights.items()} | vars(self._inputs)
        for name, array in sorted(arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def score_events(
        self,
        events: pl.DataFrame,
        *,
        also: Sequence[str] = (),
        habit: str | None = None,
        as_of: datetime | None = None,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
        progress: Progress = iter,
    ) -> pl.DataFrame:
        """Score every row of a log in the light of the rows before it.

        Args:
            events: the log's columns as in training. Give each user's history from the beginning: it is read in time
                order, whatever the order of the rows.
            also: names of further outcomes to predict, of those in `units`.
            habit: also tell this reward, of those in `habits`.
            as_of: also say what was known of each row's outcome at this moment (naive: UTC), in ``value_as_of``: the
                active days seen since, and for the days still open the forecast of the user's latest state, the
                lower, the longer the user has been silent. Null for rows that had not happened yet.
            items_table: features of items that the artefact does not hold.
            history_start: the first day the given histories cover; None: the training log's first day.
            progress: wraps the batches, to show how far along it is.

        Returns:
            The same rows in the same order with ``value_before`` V(Q), ``value_exposed`` V(E), ``value_after`` V(F),
            ``reward`` and ``reward_std``, all in `unit` (Float64). A row that repeats another gets the same scores.
            Rows that training would set aside are scored null, with a warning that counts them. Where the log has a
            column of such a name, it stays as it came, and the score is called ``scored_NAME``.
            Of each name in ``also`` the expected outcome in its own unit, ``NAME_before``, ``NAME_exposed`` and, where
            the feedback itself does not tell it, ``NAME_after``; or ``NAME_absent``, were the row's item not shown.
            With ``habit`` also ``habit`` and ``habit_std``.

        Raises:
            SchemaError: a column is missing or of the wrong type, or more rows are set aside than training allowed;
                or ``as_of`` is asked of an outcome whose scope is not the user.
            ValueError: a name in ``also`` is not one of `units`, or ``habit`` is not one of `habits`.
        """
        found = self.scores(
            events,
            also=also,
            habit=habit,
            as_of=as_of,
            items_table=items_table,
            history_start=history_start,
            progress=progress,
        )
        return beside(events, found)

    @_eager
    @as_trained
    def scores(
        self,
        events: pl.DataFrame,
        *,
        also: Sequence[str] = (),
        habit: str | None = None,
        as_of: datetime | None = None,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
        progress: Progress = iter,
        set_aside: SetAside | None = None,
    ) -> pl.DataFrame:
        """What `score_events` adds to a log, without the log: the scores of its rows, in their order.

        Arguments and errors are its, and ``set_aside``: called with this function and how many rows training would set
        aside for which reason, where the rows are a part of a log, in place of `judge_set_aside`.
        """
        return self._read_scores(
            events,
            also=also,
            habit=habit,
            as_of=as_of,
            items_table=items_table,
            history_start=history_start,
            progress=progress,
            set_aside=set_aside,
        )[0]

    @as_trained
    def scores_and_forecast(self, events: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.float64]]:
        """What `scores` and `forecast` tell of a log, from one reading of it."""
        return self._read_scores(events, forecast=True)

    def _read_scores(
        self,
        events: pl.DataFrame,
        *,
        also: Sequence[str] = (),
        habit: str | None = None,
        as_of: datetime | None = None,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
        progress: Progress = iter,
        set_aside: SetAside | None = None,
        forecast: bool = False,
    ) -> tuple[pl.DataFrame, NDArray[np.float64]]:
        """See `scores`, and `forecast` where it is asked for: else of no days."""
        days = self.horizon_days if forecast else 0
        if as_of is not None:
            self._forecasts_open_days()
        self._known_outcomes(also)
        parts = None if habit is None else self._habit(habit)
        further = [(name, state) for name in also for state in self.also[name].states]
        names = (
            *SCORES,
            *(f"{name}_{state}" for name, state in further),
            *(() if parts is None else HABIT),
            *(() if as_of is None else (AS_OF,)),
        )
        if events.is_empty():
            return pl.DataFrame(schema=dict.fromkeys(names, pl.Float64)), np.zeros((0, days))
        read = self._clean(events, set_aside=set_aside)
        clean = read.events
        windows = self._windows(clean, None, items_table, history_start)
        scores = torch.full((len(names), len(windows.stream.events)), torch.nan, dtype=torch.float64)
        chances = torch.zeros(len(windows.stream.events), days, dtype=torch.float64)
        own = self._own_groups(windows.stream.events.items, [*also, *(parts or ())])
        for batch in self._batches(windows, progress):
            asked = {scope: items.at(batch.slots.row) for scope, items in own.items()}
            states = dict(zip((*STATES, *asked), self.network(batch, *asked.values()), strict=True))
            before, exposed, after = (self.network.head.value(states[name]) for name in STATES)
            rewards = exposure(before, exposed)
            row, happened = batch.slots.row, batch.history.row
            columns = torch.stack([before.mean(-1), exposed.mean(-1), rewards.mean, rewards.std])
            scores[torch.tensor([0, 1, 3, 4]).unsqueeze(1), row[row >= 0].cpu()] = columns[:, row >= 0].cpu().double()
            scores[2, happened[happened >= 0].cpu()] = after.mean(-1)[happened >= 0].cpu().double()
            if forecast:
                told = self.network.head.probabilities(states["after"][happened >= 0])
                chances[happened[happened >= 0].cpu()] = told.cpu().double()
            for column, (name, which) in enumerate(further, len(SCORES)):
                place = happened if which == "after" else row
                state = states[self._scope(name) if which == ABSENT else which]
                scores[column, place[place >= 0].cpu()] = (
                    self._head(name).value(state).mean(-1)[place >= 0].cpu().double()
                )
            if parts is not None:
                told = torch.stack([*self._formed(parts, states["exposed"], states[self._scope(parts.without)])])
                scores[names.index(HABIT[0]) :][:2, row[row >= 0].cpu()] = told[:, row >= 0].cpu().double()
        if self.effects is not None:
            place = torch.tensor(windows.stream.events.source)
            scores[3:5] = self._effects_of(self.effects, clean, items_table)[:, place]
        if as_of is not None:
            scores[-1] = torch.from_numpy(self._as_of(clean, windows, [as_of])[:, 0])
        found = self._in_order(events, read, windows.stream, dict(zip(names, scores.numpy(), strict=True)))
        return found, self._table(events, read, windows.stream, chances.numpy()) if forecast else chances.numpy()

    @as_trained
    def forecast(
        self,
        events: pl.DataFrame,
        *,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
    ) -> NDArray[np.float64]:
        """Probability, after each row's feedback, of being active on each of the next H days: (rows, H).

        Nan for rows that training would set aside.
        """
        read = self._clean(events)
        windows = self._windows(read.events, None, items_table, history_start)
        return self._table(events, read, windows.stream, self._forecast(windows))

    @as_trained
    def values_as_of(
        self,
        events: pl.DataFrame,
        moments: Sequence[datetime],
        *,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
    ) -> NDArray[np.float64]:
        """What was known of each row's outcome at each of several moments: (rows, moments), from one reading.

        As ``value_as_of`` of `score_events`, nan where that is null. Arguments and errors are its.
        """
        self._forecasts_open_days()
        read = self._clean(events)
        windows = self._windows(read.events, None, items_table, history_start)
        return self._table(events, read, windows.stream, self._as_of(read.events, windows, moments))

    @as_trained
    def distribution(
        self,
        events: pl.DataFrame,
        name: str | None = None,
        *,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
    ) -> pl.DataFrame:
        """The whole predicted distribution of an outcome, as each user's last event left it.

        Args:
            events: the log's columns as in training, each user's history from the beginning.
            name: of a further outcome, see `units`; None: of the one that rewards are told in.
            items_table: features of items that the artefact does not hold.
            history_start: the first day the given histories cover; None: the training log's first day.

        Returns:
            A row for each user and possible outcome, in order: ``user_id``, ``outcome`` in its unit and
            ``probability``, which sums to 1 for each user. Where the feedback itself tells the outcome, it is that of
            the last exposure before its feedback came.

        Raises:
            SchemaError: a column is missing or of the wrong type, or a value cannot be used.
            ValueError: ``name`` is not one of `units`.
        """
        self._known_outcomes([] if name is None else [name])
        head = self.network.head if name is None else self._head(name)
        windows = self._windows(self._clean(events).events, None, items_table, history_start)
        stream = windows.stream
        last = self._last_states(windows, name)[stream.offsets[1:] - 1]
        outcome, probability = (part.cpu().double() for part in head.distribution(last))
        users = len(stream.users)
        return pl.DataFrame(
            {
                USER: stream.users.gather(np.repeat(np.arange(users), len(outcome))),
                "outcome": outcome.repeat(users).numpy(),
                "probability": probability.flatten().numpy(),
            }
        )

    @as_trained
    def expected(
        self,
        events: pl.DataFrame,
        name: str,
        *,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
        asked: pl.Series | None = None,
    ) -> NDArray[np.float64]:
        """The parts of a further outcome that are expected of each row, such as its days: (rows, parts).

        After the row's feedback; or before it, with the item known, where the feedback itself tells the outcome. Of an
        outcome of what is not shown that is ``asked`` of each row; None: the row's own item, creator or show.
        """
        self._known_outcomes([name])
        read = self._clean(events)
        windows = self._windows(read.events, None, items_table, history_start)
        given = None if asked is None else self._of_rows(events, asked, read.events)[windows.stream.events.source]
        found = self._head(name).expected(self._last_states(windows, name, given)).cpu().double().numpy()
        return self._table(events, read, windows.stream, found)

    def _last_states(self, windows: Windows, name: str | None, asked: pl.Series | None = None) -> Tensor:
        """(events, ·) in stream order: the state in which most is known that an outcome may be asked in."""
        after = name is None or "after" in self.also[name].states
        states = torch.zeros(len(windows.stream.events), self.network.state_width, device=self.device)
        own = self._own_groups(windows.stream.events.items, [] if name is None else [name])
        if name is not None and asked is not None:
            scope = self._scope(name)
            own = {scope: Items.of(self.features.groups(scope, asked))}
        for batch in self._batches(windows):
            if after:
                row, state = batch.history.row, self.network.after(batch.history)
            else:
                row = batch.slots.row
                _, exposed, _, *absent = self.network(batch, *(items.at(row) for items in own.values()))
                state = absent[0] if absent else exposed
            states[row[row >= 0]] = state[row >= 0]
        return states

    def _own_groups(self, items: ItemTable, names: Sequence[str]) -> dict[str, Items]:
        """What ``items`` are of, by the scopes of the named outcomes that ask about what is not shown."""
        scopes = [self._scope(name) for name in names if ABSENT in self.also[name].states]
        return {scope: Items.of(self.features.groups(scope, items)) for scope in scopes}

    def _scope(self, name: str) -> str:
        return cast(AbsentOutcome, self.also[name]).scope

    def _habit(self, scope: str) -> Habit:
        if scope not in self.habits:
            raise ValueError(
                f"habit={scope!r} expected one of the habits of this function, "
                f"{', '.join(self.habits) or 'which has none'}: train with task=[...,habit] to have one"
            )
        return self.habits[scope]

    def _formed(self, habit: Habit, exposed: Tensor, absent: Tensor) -> Rewards:
        """The reward of a habit at states E and the same slots' states in which what it is of is not shown."""
        taken, back = (self._head(name).value(exposed) for name in (habit.taken_up, habit.after))
        return exposure(taken * self._head(habit.without).value(absent), taken * back)

    def _head(self, name: str) -> Head:
        return cast(Head, self.network.also[name])

    def _known_outcomes(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in self.also]
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} expected to be of the further outcomes of this function, "
                f"{', '.join(self.also) or 'which has none'}: train with also=[...] to have more"
            )

    def unknown_items(self, items: Ids, items_table: pl.DataFrame | None = None) -> int:
        """How many of ``items`` are not in the vocabulary: they are scored by their features alone."""
        known = items.drop_nulls() if isinstance(items, pl.Series) else items
        distinct, place = np.unique(self._ids_of(known), return_inverse=True)
        return int((self._item_inputs(distinct, items_table).code[place] == 0).sum())

    @_eager
    @as_trained
    def encode(
        self,
        events: pl.DataFrame,
        *,
        now: datetime | pl.DataFrame,
        items_table: pl.DataFrame | None = None,
        history_start: date | None = None,
    ) -> History:
        """Read users' histories once, up to the slots that are about to be filled.

        Args:
            events: the users' events so far, the log's columns as in training. Events at or after a slot's moment are
                not read by it.
            now: the moment of the slots (naive: UTC), one slot for each user of ``events`` in the order of their ids,
                with unknown context; or a frame with one row a slot: ``user_id``, ``timestamp`` and any of the
                context columns, for users with or without events.
            items_table: features of items in ``events`` that the artefact does not hold.
            history_start: the first day the given histories cover; None: the training log's first day.

        Returns:
            One row a slot, in the order of ``now``.

        Raises:
            SchemaError: a column is missing or of the wrong type, or a value cannot be used.
        """
        clean = self._clean(events).events
        slots = self._slots(clean, now)
        windows = self._windows(clean, slots, items_table, history_start)
        owner = np.repeat(np.arange(len(windows)), np.diff(windows.slot_bounds))
        place = np.empty(len(slots), np.int64)
        place[windows.stream.slots.source[windows.slots]] = np.arange(len(slots))
        needed, which = np.unique(owner[place], return_inverse=True)
        batch = _to(windows.batch(needed), self.device)
        memory, past = self.network.read(batch.history), self.network.past(batch.history)
        rows = torch.from_numpy(which).to(self.device)
        column = torch.from_numpy(place - windows.slot_bounds[owner[place]]).to(self.device)
        return History(
            slots[USER],
            Memory(memory.states[rows], memory.hours[rows], tuple(layer[rows] for layer in memory.layers)),
            Tokens(*(tensor[rows, column].unsqueeze(1) for tensor in batch.slots)),
            batch.visible[rows, column].unsqueeze(1),
            None if past is None else Past(*(part[rows] for part in past)),
            self._standing(clean, slots),
            self.fingerprint,
        )

    @_eager
    @as_trained
    def score_candidates(
        self, history: History, items: Ids, *, habit: str | None = None, items_table: pl.DataFrame | None = None
    ) -> Rewards:
        """Score the effect of showing each candidate next.

        Args:
            history: from `encode`.
            items: item ids, (candidates,) for all users alike or (users, candidates).
            habit: tell the reward of bringing up what the candidate is of, of those in `habits`, in its own unit.
            items_table: features of items that the artefact does not hold. Items known to neither are scored as an
                average new item; `unknown_items` counts them.

        Returns:
            Rewards of shape (users, candidates) in `unit`, float32.

        Raises:
            ValueError: ``items`` has another shape, or ids of another type than the vocabulary's; or ``habit`` is not
                one of `habits`.
        """
        return self._of_candidates(history, items, lambda ids: self._scores(ids, habit, items_table))

    @_eager
    @as_trained
    def predict_candidates(
        self, history: History, items: Ids, name: str, *, items_table: pl.DataFrame | None = None
    ) -> Tensor:
        """Predict a further outcome of showing each candidate next.

        Args:
            history: from `encode`.
            items: item ids, (candidates,) for all users alike or (users, candidates).
            name: of the outcome, of those in `units`.
            items_table: features of items that the artefact does not hold.

        Returns:
            (users, candidates), float32: the expected outcome in its own unit, before the feedback; of one that asks
            about what is not shown, were what the candidate is of not shown.

        Raises:
            ValueError: see `score_candidates`; or ``name`` is not one of `units`.
        """
        self._known_outcomes([name])
        return self._of_candidates(history, items, lambda ids: self._predictions(ids, name, items_table)).mean

    def _of_candidates(self, history: History, items: Ids, scores: Callable[[NDArray[Any]], _Score]) -> Rewards:
        """What ``scores`` makes of distinct ids, for each history and candidate."""
        if history.encoded_by not in (None, self.fingerprint):
            raise ValueError(
                "history expected one that this function encoded, got one of another function, whose states mean "
                "something else: encode the events again with this function"
            )
        ids = self._ids_of(items)
        shape = ids.shape
        if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != len(history)):
            raise ValueError(
                f"items expected shape (candidates,) or ({len(history)}, candidates) for {len(history)} histories, "
                f"got {shape}"
            )
        distinct, place = np.unique(ids, return_inverse=True)
        score = scores(distinct)
        which = torch.from_numpy(place.reshape(shape)).to(self.device).expand(len(history), -1)
        mean = torch.zeros(len(history), shape[-1], device=self.device)
        std = torch.zeros_like(mean)
        # a candidate reads a history's events, or one state of each layer
        read = max(1, history.memory.hours.shape[1], *(layer.shape[-1] // 4 for layer in history.memory.layers))
        step = max(_ATTENTION_CELLS // (read * max(shape[-1], 1)), 1)
        for start in range(0, len(history) if shape[-1] else 0, step):
            rows = slice(start, start + step)
            mean[rows], std[rows] = score(history[rows], which[rows])
        return Rewards(mean, std)

    def _scores(self, ids: NDArray[Any], habit: str | None, items_table: pl.DataFrame | None) -> _Score:
        """What scores candidates that are given as places in ``ids``."""
        if habit is not None:
            return self._habits_of(self._habit(habit), ids, items_table)
        return self._exposures(ids, items_table) if self.effects is None else self._facts(ids, items_table)

    def _exposures(self, ids: NDArray[Any], items_table: pl.DataFrame | None) -> _Score:
        """Scores candidates by the exposure term."""
        fillings, value = self._fillings(ids, None, items_table), self.network.head.value
        return lambda history, which: exposure(
            value(self._state(history, None)), value(self._state(history, fillings.at(which)))
        )

    def _habits_of(self, habit: Habit, ids: NDArray[Any], items_table: pl.DataFrame | None) -> _Score:
        """Scores candidates by the habit that they bring up."""
        items, without = self._fillings(ids, None, items_table), self._fillings(ids, habit.without, items_table)
        return lambda history, which: self._formed(
            habit, self._state(history, items.at(which)), self._state(history, without.at(which))
        )

    def _facts(self, ids: NDArray[Any], items_table: pl.DataFrame | None) -> _Score:
        """Scores candidates by the effects."""
        effects = self.effects
        assert effects is not None
        facts = effects.known(ids, None if items_table is None else self.features.fitting(items_table)).to(self.device)

        def score(history: History, which: Tensor) -> Rewards:
            if history.standing is None:
                raise ValueError("history expected one that this function encoded: its effects read more of the past")
            return effects.score(history.standing, facts.of(which))

        return score

    def _standing(self, clean: pl.DataFrame, slots: pl.DataFrame) -> StateOfUsers | None:
        """What the effects read of the past of each slot's user."""
        if self.effects is None:
            return None
        users = pl.concat([clean[USER], slots[USER]]).unique().sort()
        user = users.search_sorted(slots[USER]).to_numpy().astype(np.int64)
        standing = self.effects.history(clean, users).state(user, days_since_1970(slots[TIMESTAMP]))
        found: StateOfUsers = standing.map(lambda tensor: tensor.to(self.device))
        return found

    def _effects_of(self, effects: EffectModel, clean: pl.DataFrame, items_table: pl.DataFrame | None) -> Tensor:
        """(2, rows) rewards of the rows of ``clean`` and their standard deviations."""
        users = clean[USER].unique().sort()
        user = users.search_sorted(clean[USER]).to_numpy().astype(np.int64)
        moment = days_since_1970(clean.select(slate_moment(clean.columns)).to_series())
        items = clean[ITEM].unique().sort()
        place = items.search_sorted(clean[ITEM]).to_numpy().astype(np.int64)
        facts = effects.known(items.to_numpy(), None if items_table is None else self.features.fitting(items_table))
        past, out = effects.history(clean, users), torch.empty(2, len(clean), dtype=torch.float64)
        for start in range(0, len(clean), _BATCH_ROWS):
            rows = slice(start, start + _BATCH_ROWS)
            some = facts.of(torch.from_numpy(place[rows]))
            out[:, rows] = torch.stack([*effects.score_rows(past, user[rows], moment[rows], some)])
        return out

    def _predictions(self, ids: NDArray[Any], name: str, items_table: pl.DataFrame | None) -> _Score:
        """Predicts an outcome of candidates."""
        asked = name if ABSENT in self.also[name].states else None
        fillings, value = self._fillings(ids, asked, items_table), self._head(name).value

        def score(history: History, which: Tensor) -> Rewards:
            found = value(self._state(history, fillings.at(which)))
            return Rewards(found.mean(-1), found.std(-1, correction=0))

        return score

    def _fillings(self, ids: NDArray[Any], asked: str | None, items_table: pl.DataFrame | None) -> _Fillings:
        """(ids, ·) of items; or of what they are of and is not shown, as a further outcome asks."""
        table, embedding = self._item_inputs(ids, items_table), self.network.embedding
        groups = Items.of(table) if asked is None else self._own_groups(table, [asked])[self._scope(asked)]
        there = Items(*(part.to(self.device) for part in groups))
        vector = embedding.item(*there) if asked is None else embedding.without(there)
        return _Fillings(vector, codes_of(there.code, there.categories))

    def _state(self, history: History, filling: _Fillings | None) -> Tensor:
        slots, visible = history.slots, history.visible
        if filling is None:
            return self.network.query(history.memory, slots, visible)
        vector = self.network.recalled(filling.vector, history.past, slots.hours, visible, filling.codes)
        wide = (-1, vector.shape[1])
        slots = slots._replace(hours=slots.hours.expand(wide))
        return self.network.query(history.memory, slots, visible.expand(wide), vector)

    def _ids_of(self, items: Ids) -> NDArray[Any]:
        """Item ids as integers, or as strings in an array of objects, in the shape they came in.

        NumPy's own strings would end at their last character that is not NUL, and all be as long as the longest.
        """
        if isinstance(items, Tensor):
            items = items.cpu().numpy()
        elif isinstance(items, pl.Series):
            items = (items if items.dtype.is_numeric() or items.dtype.is_nested() else items.cast(pl.String)).to_numpy()
        strings = self._ids.dtype == object
        ids = np.array(items, object) if strings else np.asarray(items)
        if not strings and ids.dtype == object:  # integers may come as objects
            ids = np.array(ids.tolist())
        fit = all(issubclass(kind, str) for kind in set(map(type, ids.flat))) if strings else ids.dtype.kind in "iu"
        if ids.size and not fit:
            came = np.array([it for it in ids.flat if not isinstance(it, str)]).dtype if strings else ids.dtype
            raise ValueError(
                f"items expected {self.features.items.schema[ITEM]} ids, as in training, got {came}: cast them"
            )
        return ids if strings else ids.astype(np.int64)

    def _item_inputs(self, ids: NDArray[Any], items_table: pl.DataFrame | None) -> ItemTable:
        """The inputs of items; without a table of others no polars, which a forked process cannot use."""
        if items_table is not None:
            return self.features.item_inputs(pl.Series(ITEM, ids, self.features.items.schema[ITEM]), items_table)
        place = np.searchsorted(self._ids, ids)
        known = np.append(self._ids, self._ids[-1:])[place] == ids
        return self._inputs[np.where(known, place, len(self._ids))]

    def judge_set_aside(self, counts: Mapping[str, int], rows: int, most: float | None = None) -> None:
        """Warn of rows of a log that cannot be scored.

        Args:
            counts: how many, by reason.
            rows: of the log.
            most: share that may be; None: what training allowed.

        Raises:
            SchemaError: they are more than that.
        """
        allowed = self.features.max_rejected_share if most is None else most
        reasons = "; ".join(f"{count} row(s): {reason}" for reason, count in counts.items())
        told = f"{sum(counts.values())} of {rows} events cannot be scored: {reasons}"
        if sum(counts.values()) > allowed * rows:
            raise SchemaError(f"{told}. Mend or drop these rows first: at most {allowed:.2%} may be set aside here")
        warnings.warn(f"{told}. They are set aside, as in training, and have no score", SetAsideWarning, stacklevel=4)

    def _clean(self, events: pl.DataFrame, *, every_row: bool = False, set_aside: SetAside | None = None) -> _Read:
        """The rows in the schema and in the types that training saw, without those that it would have set aside.

        Args:
            events: rows as they came.
            every_row: none may be set aside.
            set_aside: see `scores`.
        """
        features = self.features
        types: dict[str, pl.DataType] = {ITEM: features.items.schema[ITEM]}
        types |= {name: pl.String() if name in features.vocabularies else pl.Float64() for name in features.context}
        came = events.schema
        integer = came.get(TIMESTAMP, pl.Null()).is_integer()
        numbers = [name for name in features.context if types[name] == pl.Float64 and name in came]
        log = EventLog(
            events=events.lazy().with_columns(
                pl.col(name).cast(pl.Float64) for name in numbers if came[name].is_integer() or came[name] == pl.Null
            ),
            feedback=features.feedback,
            context=features.context,
            timezone=features.timezone,
            day_starts_at=features.day_starts_at,
            click=features.click,
            flags=features.flags,
            timestamp_unit=self.timestamp_unit if integer else None,
            session_gap_minutes=features.session_gap_minutes,
            max_rejected_share=1.0,
        )
        checked = check(log, least_users=0)
        reasons = checked.reasons
        aside = (reasons != DUPLICATE).fill_null(value=False)
        if aside.any():
            counts = dict(reasons.filter(aside).value_counts(sort=True).iter_rows())
            if set_aside is None:
                self.judge_set_aside(counts, events.height, 0.0 if every_row else None)
            else:
                set_aside(self, counts)
        clean = checked.log.events.collect()
        unlike = [
            f"{name} is {clean.schema[name]}, expected {dtype}"
            for name, dtype in types.items()
            if clean.schema[name] != dtype
        ]
        if unlike:
            raise SchemaError(f"events differ from those of training: {'; '.join(unlike)}: cast what differs")
        return _Read(clean, aside)

    def _slots(self, clean: pl.DataFrame, now: datetime | pl.DataFrame) -> pl.DataFrame:
        """The slots asked about, in the schema, unknown context null."""
        schema = clean.schema
        if isinstance(now, datetime):
            moment = now if now.tzinfo else now.replace(tzinfo=UTC)
            given = clean.select(pl.col(USER).unique().sort()).with_columns(
                pl.lit(moment.astimezone(UTC)).cast(schema[TIMESTAMP]).alias(TIMESTAMP)
            )
        else:
            given = self._clean_slots(now)
        for name in (USER, SESSION):
            types = [frame.schema.get(name) for frame in (given, clean)]
            if None not in types and types[0] != types[1]:
                raise SchemaError(f"now has {name} as {types[0]}, events as {types[1]}: expected one type, cast one")
        known = [name for name in (USER, TIMESTAMP, SESSION, *self.features.context) if name in schema]
        return given.select(
            (pl.col(name) if name in given.columns else pl.lit(None, schema[name])).alias(name) for name in known
        )

    def _clean_slots(self, now: pl.DataFrame) -> pl.DataFrame:
        """A frame of slots, row by row: checked as a log whose items are the numbers of the rows."""
        missing = [name for name in (USER, TIMESTAMP) if name not in now.columns]
        if missing:
            raise SchemaError(f"now expected a frame with user_id and timestamp, it has no {' and no '.join(missing)}")
        read = (USER, TIMESTAMP, SESSION, *self.features.context)
        rows = now.select(
            *(name for name in read if name in now.columns),
            *(pl.lit(None).alias(name) for name in self.features.context if name not in now.columns),
            *(pl.lit(0.0).alias(name) for name in self.features.feedback),
            pl.int_range(pl.len()).cast(self.features.items.schema[ITEM]).alias(ITEM),
        )
        try:
            return self._clean(rows, every_row=True).events.sort(pl.col(ITEM).cast(pl.Int64))
        except SchemaError as error:
            raise SchemaError(f"now does not fit: {error}") from error

    def _windows(
        self,
        clean: pl.DataFrame,
        slots: pl.DataFrame | None,
        items_table: pl.DataFrame | None,
        history_start: date | None,
    ) -> Windows:
        first_day = None if history_start is None else (history_start - EPOCH).days
        stream = Stream.build(clean.lazy(), self.features, first_day=first_day, at=slots, items_table=items_table)
        return Windows.cut(stream, self.max_events)

    def _batches(self, windows: Windows, progress: Progress = iter) -> Iterator[Batch]:
        for index in progress(windows.batches(_BATCH_ROWS)):
            yield _to(windows.batch(index), self.device)

    def _forecast(self, windows: Windows) -> NDArray[np.float64]:
        """(events, H) in stream order."""
        days = torch.zeros(len(windows.stream.events), self.horizon_days, dtype=torch.float64)
        for batch in self._batches(windows):
            row = batch.history.row
            states = self.network.after(batch.history)[row >= 0]
            days[row[row >= 0].cpu()] = self.network.head.probabilities(states).cpu().double()
        return days.numpy()

    def _forecasts_open_days(self) -> None:
        if not (isinstance(self.outcome, ActivityTrace) and self.outcome.scope == "user"):
            raise SchemaError(
                f"as_of expected an ActivityTrace with scope='user', this outcome is {self.outcome}, whose open days "
                "the user's latest state does not forecast: score without as_of"
            )

    def _as_of(self, clean: pl.DataFrame, windows: Windows, moments: Sequence[datetime]) -> NDArray[np.float64]:
        """(events, moments) in stream order: active days seen by then plus the forecast of the open ones."""
        stream, zone, starts_at = windows.stream, self.features.timezone, self.features.day_starts_at
        clock = local_day(zone, starts_at=starts_at)
        forecast = torch.from_numpy(self._forecast(windows))
        rows = clean[stream.events.source]
        day = rows.select(clock).to_series().to_numpy()
        ahead = np.arange(1, self.horizon_days + 1)
        value = np.full((len(rows), len(moments)), np.nan)
        for place, as_of in enumerate(moments):
            moment = (as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)).astimezone(UTC)
            known = (rows[TIMESTAMP] < moment).to_numpy()
            if not known.any():
                continue
            today = pl.DataFrame({TIMESTAMP: [moment]}).select(clock).item()
            user = stream.events.user[known]
            last = (stream.offsets[:-1] + np.bincount(user, minlength=len(stream.users)) - 1)[user]
            log = EventLog(
                rows.filter(known).lazy(),
                self.features.feedback,
                self.features.session_gap_minutes,
                1.0,
                timezone=zone,
                day_starts_at=starts_at,
            )
            word = self.outcome.label(log, today + 1).select(TRACE).collect()[TRACE].to_numpy()  # with today so far
            active = (word[:, None] >> (ahead - 1)) & 1
            silent = np.clip(today - 1 - day[last], 0, self.horizon_days)  # whole days without an event
            told = self.network.head.after_silence(forecast[last], torch.from_numpy(silent)).numpy()
            ahead_of_last = day[known, None] + ahead - day[last][:, None]
            chance = np.take_along_axis(told, np.clip(ahead_of_last - 1, 0, self.horizon_days - 1), 1)
            open_days = (day[known, None] + ahead >= today) & (ahead_of_last > 0)
            value[known, place] = np.where(open_days, chance, active).sum(1)
        return value

    def _of_rows(self, events: pl.DataFrame, values: pl.Series, clean: pl.DataFrame) -> pl.Series:
        """What is told of each row of ``events``, in the order of ``clean``; of repeated rows what the first has."""
        keys = [USER, ITEM, TIMESTAMP]
        told = self._keys(events).select(keys).with_columns(values.alias(ASKED))
        first = told.unique(keys, keep="first", maintain_order=True)
        return clean.select(keys).join(first, on=keys, how="left", maintain_order="left")[ASKED]

    def _in_order(
        self, events: pl.DataFrame, read: _Read, stream: Stream, columns: Mapping[str, NDArray[np.float64]]
    ) -> pl.DataFrame:
        """Columns given in stream order, in the order of the rows of ``events``; null for those set aside."""
        keys = [USER, ITEM, TIMESTAMP]
        place = pl.Series("place", np.argsort(stream.events.source))
        rows = self._keys(events).join(
            read.events.select(keys).hstack([place]), on=keys, how="left", maintain_order="left"
        )
        place = rows.select(pl.when(~read.aside).then("place")).to_series()
        return pl.DataFrame({name: pl.Series(column).fill_nan(None).gather(place) for name, column in columns.items()})

    def _table(
        self, events: pl.DataFrame, read: _Read, stream: Stream, values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(rows, columns) of values given in stream order, in the order of the rows; nan where there are none."""
        told = self._in_order(events, read, stream, {str(place): column for place, column in enumerate(values.T)})
        return told.cast(pl.Float64).fill_null(np.nan).to_numpy()

    def _keys(self, events: pl.DataFrame) -> pl.DataFrame:
        return row_keys(events, self.timestamp_unit, self.features.timezone)


def beside(events: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """A log with its scores, which are called ``scored_NAME`` where it has a column of that name."""
    names = {name: name for name in scores.columns}
    for name in scores.columns:
        while names[name] in events.columns:
            names[name] = f"{SCORED}{names[name]}"
    return events.hstack(scores.rename(names))


def _to(batch: Batch, device: torch.device) -> Batch:
    def move(tokens: Tokens) -> Tokens:
        return Tokens(*(tensor.to(device) for tensor in tokens))

    return Batch(move(batch.history), move(batch.slots), batch.visible.to(device))
