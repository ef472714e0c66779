"""Propensities for logs that have none: a model of the policy that made the log, and a check that can fail.

The model is a conditional logit. In slot h of a slate, item x of the items live that day and not shown above has

    p(x | h) = e^{s(h,x)} / Σ_{c live, not above} e^{s(h,c)}        s(h, x) = θ_xᵀ z(h) + ℓ(h)ᵀ W e_x

with z(h) a constant, the user's past activity at several spans and what is named of the context; ℓ(h) the features of
what the user gated before, and e_x those of the item. θ_x has a normal prior whose mean and covariance are learned
from all items (empirical Bayes), so a lean towards active users is told from noise and few-shown items borrow from
the rest. Fitted by Newton steps on blocks; each half of the users has a fit of its own, which leaves its own slates
balanced, and shares no noise with the other half's, which is what the checks rest on.

Sources: McFadden 1974 (conditional logit), Plackett 1975 (without replacement), Hirano, Imbens and Ridder 2003 (why
propensities fitted to the rows they weight do better than the true ones), Bengio and Senécal 2008 (sampled softmax).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.propensity.calibration import Calibration, ReadSlates, check_calibration
from reward.causal.propensity.candidates import Part, Plan, drawn
from reward.causal.propensity.features import Followed, Moments, SlotScales, SlotSums, gated_in, moments_of
from reward.causal.propensity.fit import fit_policies
from reward.causal.propensity.item_features import Taken, Traits, learned_traits, no_traits, table_traits
from reward.causal.settings import AUTO
from reward.columns import ITEM
from reward.data.chunk_cache import ChunkCache
from reward.data.event_log import EventLog, SchemaError, click_of
from reward.data.prepared import PreparedLog, UserRows
from reward.data.slates import HALVES, ActiveDays, Catalogue, Live, halves, slates_in
from reward.statistics.gathered import Gathered
from reward.statistics.sums import Totals, fold

_FOLLOWED = ("gate", "spans_days", "prior_days", "memory_clicks", "context", "category_levels")


@dataclass(frozen=True)
class Propensities:
    """Estimated propensities of a log, and what an artefact should say of them.

    Attributes:
        propensity: (rows,) float64 in (0, 1], in the order of the log's events.
        half: (rows,) 0 or 1: the half of the users whose fit each came from.
        calibration: how far they can be believed.
        settings: the keyword settings they were estimated with.
        features: what the model reads.
        rows, users, items, slates: the log's size.
    """

    propensity: Doubles
    half: Ints
    calibration: Calibration
    settings: dict[str, object]
    features: tuple[str, ...]
    rows: int
    users: int
    items: int
    slates: int


def estimate_propensities(
    log: EventLog | PreparedLog,
    *,
    gate: str | None,
    spans_days: Sequence[float],
    prior_days: float,
    memory_clicks: Sequence[float],
    context: Sequence[str],
    embedding_size: int,
    category_levels: int,
    ridge: float,
    passes: int,
    tolerance: float,
    max_training_slates: int,
    max_candidates: int,
    chunk_slates: int,
    calibration_slates: int,
    level: float,
    least_excess: float,
    seed: int,
) -> Propensities:
    """Propensities of a log's rows, from a model of the policy that made it.

    Args:
        log: a checked log, or one that is prepared, which is read in chunks of users. Without an items table the items'
            features are learned from who gated what.
        gate: feedback column that says a user took an item up (above 0); None: being shown counts; ``auto``: the log's
            click, where it has one.
        spans_days: memories of the past activity that the policy may follow; none: it follows no activity.
        prior_days: days of average activity a new user is thought to have had.
        memory_clicks: memories, in gated items, of the liking that the policy may follow; none: it follows no liking.
        context: context columns that the policy may follow, each category by ``category_levels``.
        embedding_size: most dimensions kept of an embedding, and those of features learned from the log.
        category_levels: most categories of a column that are told apart.
        ridge: prior precision of W.
        passes: most Newton steps.
        tolerance: gain in mean log-likelihood a row under which they stop.
        max_training_slates: slates of each half a fit reads; drawn if there are more.
        max_candidates: live items up to which the softmax is exact; above, about so many are drawn for each chunk,
            the often shown more often, and weighted by the inverse of that.
        chunk_slates: slates computed at once.
        calibration_slates: slates that the calibration reads.
        level: z beyond which the calibration is flagged,
        least_excess: if what is left is also more than this share of a cell: what does no harm is not flagged.
        seed: halves the users and draws slates and candidates.

    Raises:
        SchemaError: ``gate`` is no feedback column, or ``context`` no context column.
        ValueError: a setting is out of its range.
    """
    plain = log.log if isinstance(log, PreparedLog) else log
    gate = click_of(plain) if gate == AUTO else gate
    settings = {
        name: list(it) if isinstance(it, tuple | list) else it
        for name, it in locals().items()
        if name not in ("log", "plain")
    }
    _check_settings(plain, gate, spans_days, memory_clicks, context, passes, max_candidates, chunk_slates, seed)
    prepared = PreparedLog.of(log)
    return propensities_of(prepared, list(prepared.chunks()), settings)


def propensities_of(prepared: PreparedLog, chunks: Sequence[UserRows], settings: dict[str, Any]) -> Propensities:
    """`estimate_propensities` of a prepared log whose users are read in ``chunks``, in any order.

    Each pass over them is a sum over users: the catalogue; how much there is; what is learned of items where they have
    no table; the scales of what is known of slots; each step of the fit; and the calibration. Held of the whole log are
    a few numbers a slate (its day, its group, its past activity, of which the terciles are asked) and a probability a
    row; of slates and what is known of them those of ``chunk_rows`` rows and of one chunk more.
    """
    followed = Followed(*(settings[name] for name in _FOLLOWED))
    reader = _Reader(prepared, fold(Live(prepared.items[ITEM]), chunks), followed)
    size = fold(_Sizes(reader), chunks)
    traits = _traits(reader, chunks, settings["embedding_size"])
    plan, names = _plan(reader, chunks, size, traits, settings)
    of_user = halves(len(prepared.users), settings["seed"])
    half = np.repeat(of_user, size.slates)
    wanted = [drawn(np.flatnonzero(half == own), settings["max_training_slates"], plan.seed) for own in range(HALVES)]
    told = {name: settings[name] for name in ("ridge", "passes", "tolerance")}
    policies = fit_policies(plan, chunks, wanted, **told)
    reading = fold(ReadSlates(plan, policies, half), plan.parts(chunks))
    limits = {
        "most": settings["calibration_slates"],
        "level": settings["level"],
        "least_excess": settings["least_excess"],
    }
    calibration = check_calibration(plan, chunks, policies, half, reading, **limits)
    return Propensities(
        propensity=np.exp(np.concatenate(reading.log_p.in_order)),
        half=np.repeat(of_user, np.diff(prepared.codes.offsets)),
        calibration=calibration,
        settings=settings,
        features=(*names, *(traits.names if followed.memory_clicks else ())),
        rows=len(prepared),
        users=len(prepared.users),
        items=len(plan.shown),
        slates=len(half),
    )


class _Reader:
    """Slates of chunks of users, and what is known of them."""

    def __init__(self, prepared: PreparedLog, catalogue: Catalogue, followed: Followed):
        self.prepared, self.catalogue, self.followed = prepared, catalogue, followed
        self.slates = ChunkCache(lambda users: slates_in(users, catalogue), prepared.chunk_rows)

    def taken(self, users: UserRows) -> Taken:
        """Who took up what."""
        slates = self.slates(users)
        return Taken.of(slates, gated_in(users, slates, self.followed.gate))


@dataclass(frozen=True)
class _SizeSums(Totals):
    activity: ActiveDays
    shown: Ints
    slates: Gathered[tuple[Ints, Ints]]


class _Size(NamedTuple):
    """How much there is.

    Attributes:
        activity: average activity.
        shown: (items,) times each was shown.
        slates: (users,) of each.
        day: (slates,) of each.
    """

    activity: float
    shown: Ints
    slates: Ints
    day: Ints


@dataclass(frozen=True)
class _Sizes:
    """How much there is, as a sum over users; the state holds a day a slate."""

    reader: _Reader

    def partial(self, users: UserRows, /) -> _SizeSums:
        slates = self.reader.slates(users)
        shown = np.bincount(slates.item, minlength=len(slates.item_ids))
        count = np.bincount(slates.user, minlength=slates.users)
        return _SizeSums(ActiveDays.of(slates), shown, Gathered.of(users.first, (count, slates.day.astype(np.int32))))

    def solve(self, state: _SizeSums, /) -> _Size:
        slates, day = (np.concatenate(it) for it in zip(*state.slates.in_order, strict=True))
        return _Size(state.activity.share, state.shown, slates, day)


@dataclass(frozen=True)
class _Scales:
    """The scales of what is known of slots, as a sum over users."""

    moments: Callable[[UserRows], Moments]
    followed: Followed

    def partial(self, users: UserRows, /) -> SlotSums:
        return SlotSums.of(users.first, self.moments(users))

    def solve(self, state: SlotSums, /) -> SlotScales:
        return SlotScales.of(state, self.followed)


def _traits(reader: _Reader, chunks: Sequence[UserRows], size: int) -> Traits:
    """Traits from the items table, or learned from who clicks what where there is none; none where none are wanted."""
    prepared, items = reader.prepared, len(reader.catalogue.item_ids)
    if not reader.followed.memory_clicks:
        return no_traits(items)
    if prepared.log.items is not None and prepared.log.item_features:
        return table_traits(prepared, reader.catalogue, size, reader.followed.category_levels)
    taken = ChunkCache(reader.taken, prepared.chunk_rows)
    return learned_traits(chunks, taken, len(prepared.users), items, size)


def _plan(
    reader: _Reader, chunks: Sequence[UserRows], size: _Size, traits: Traits, settings: dict[str, Any]
) -> tuple[Plan, tuple[str, ...]]:
    """How slates are read, and the names of what is known of them."""
    followed, rows = reader.followed, reader.prepared.chunk_rows
    begin = np.append(0, np.cumsum(size.slates))
    moments = ChunkCache(lambda users: moments_of(users, reader.slates(users), traits, followed, size.activity), rows)
    scales = fold(_Scales(moments, followed), chunks)

    def part(users: UserRows) -> Part:
        known = moments(users)
        return Part(int(begin[users.first]), known.slates, scales.slots(known))

    return Plan(
        catalogue=reader.catalogue,
        traits=traits,
        shown=size.shown,
        day=size.day,
        mean_liking=scales.mean_liking,
        memories=len(followed.memory_clicks),
        width=scales.width,
        read=ChunkCache(part, rows),
        **{name: settings[name] for name in ("max_candidates", "chunk_slates", "seed")},
    ), scales.names


def _check_settings(
    log: EventLog,
    gate: str | None,
    spans_days: Sequence[float],
    memory_clicks: Sequence[float],
    context: Sequence[str],
    passes: int,
    max_candidates: int,
    chunk_slates: int,
    seed: int,
) -> None:
    if gate is not None and gate not in log.feedback:
        raise SchemaError(f"gate={gate!r} expected one of the feedback columns {list(log.feedback)}, or null")
    if unknown := [name for name in context if name not in log.context]:
        raise SchemaError(f"context={unknown} expected context columns of the log, which has {list(log.context)}")
    if min([*spans_days, *memory_clicks], default=1) < 1:
        raise ValueError(
            f"spans_days and memory_clicks expected memories of at least 1, got {list(spans_days)} and "
            f"{list(memory_clicks)}"
        )
    if min(passes, max_candidates, chunk_slates) < 1 or seed < 0:
        raise ValueError(
            f"expected passes, max_candidates and chunk_slates of at least 1 and a seed of at least 0, got {passes}, "
            f"{max_candidates}, {chunk_slates} and {seed}"
        )
