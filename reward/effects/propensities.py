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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.effects.balance import agreement
from reward.effects.settings import AUTO
from reward.effects.slates import HALVES, Doubles, Floats, Ints, Slates, halves, past_activity, past_liking, slates_of
from reward.schema import ITEM, EventLog, SchemaError, click_of

_GOLDEN = 0.6180339887498949  # its multiples are spread evenly between 0 and 1
_LONGEST = 1.0  # step of a score
_ROUNDING = 1e-12  # of the largest value, below which a standard deviation is of numbers that are all alike
_EM_STEPS = 10  # of the prior, for each step of θ
_READING, _CHECKING = 10**6, 10**6 + 1  # draws of candidates, after those of the passes


@dataclass(frozen=True)
class Calibration:
    """Whether items are shown as often as the model says, to users it was not fitted on and within groups.

    Attributes:
        bins: ten rows by predicted probability, of pairs of a slot and an item live there, each slot predicted by the
            fit of the other half: ``predicted``, ``observed``, ``low``, ``high`` (95%, users resampled by their
            spread) and ``pairs``.
        z: of the covariance between halves of what is left in each cell of item and activity tercile; about standard
            normal if the model holds, large if some items go to active or inactive users more than it says.
        excess: the root of that covariance: the share by which cells are over- or undershown beyond chance.
        flagged: z is beyond ``level`` and the excess beyond ``least_excess``; or users the model was not fitted on are
            foretold worse than if every live item were as likely.
        log_likelihood: mean over rows, each half under its own fit.
        held_out_log_likelihood: the same under the other half's fit.
        uniform_log_likelihood: the same if every live item were as likely.
    """

    bins: pl.DataFrame
    z: float
    excess: float
    flagged: bool
    log_likelihood: float
    held_out_log_likelihood: float
    uniform_log_likelihood: float


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

    def statement(self) -> dict[str, object]:
        """What an artefact states: plain numbers and names, without the arrays."""
        check = self.calibration
        return {
            "propensities": "estimated",
            "features": list(self.features),
            "settings": self.settings,
            "rows": self.rows,
            "users": self.users,
            "items": self.items,
            "slates": self.slates,
            "calibration": {
                "z": check.z,
                "excess": check.excess,
                "flagged": check.flagged,
                "log_likelihood": check.log_likelihood,
                "held_out_log_likelihood": check.held_out_log_likelihood,
                "uniform_log_likelihood": check.uniform_log_likelihood,
                "bins": check.bins.to_dicts(),
            },
        }


def estimate_propensities(
    log: EventLog,
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
        log: a checked log. Without an items table the items' features are learned from who gated what.
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
    gate = click_of(log) if gate == AUTO else gate
    settings = {
        name: list(it) if isinstance(it, tuple | list) else it for name, it in locals().items() if name != "log"
    }
    _check_settings(log, gate, spans_days, memory_clicks, context, passes, max_candidates, chunk_slates, seed)
    slates = slates_of(log)
    half = halves(slates.users, seed)[slates.user]
    traits = _traits(log, slates, gate, embedding_size, category_levels, bool(memory_clicks))
    slots, names = _slots(log, slates, traits, gate, spans_days, prior_days, memory_clicks, context, category_levels)
    plan = _Plan(slates, slots, traits, max_candidates, chunk_slates, seed)
    policies = [
        _fit(plan, _drawn(half == own, max_training_slates, seed), ridge, passes, tolerance) for own in range(HALVES)
    ]
    reading = _read(plan, policies, half)
    calibration = _calibration(plan, policies, half, reading, calibration_slates, level, least_excess)
    return Propensities(
        propensity=np.exp(slates.flat(reading.log_p)),
        half=half[slates.row],
        calibration=calibration,
        settings=settings,
        features=(*names, *(traits.names if memory_clicks else ())),
        rows=len(slates.row),
        users=slates.users,
        items=len(slates.item_ids),
        slates=len(slates.user),
    )


def choice_log_likelihood(shown: Tensor, others: Tensor) -> Tensor:
    """Log-probability of each item of a slate drawn without replacement from e^score.

    Args:
        shown: (n, size) scores of the items shown, from the top; −inf at places that do not exist.
        others: (n,) log of the sum of e^score over the live items that the slate does not show.

    Returns:
        (n, size) log e^{s_j} / (Σ_{i ≥ j} e^{s_i} + e^{others}); 0 at places that do not exist.

    >>> scores = torch.tensor([[0.0, 0.0]])
    >>> choice_log_likelihood(scores, torch.tensor([0.0])).exp()  # of three equal items, then of two
    tensor([[0.3333, 0.5000]])
    """
    below = torch.logcumsumexp(shown.flip(-1), -1).flip(-1)
    return torch.where(shown.isneginf(), 0.0, shown - torch.logaddexp(below, others[:, None]))


@dataclass(frozen=True)
class _Traits:
    values: Floats  # (items, F)
    pairs: NDArray[np.bool_]  # (F, F) which liking may speak for which trait
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Slots:
    state: Floats  # (n, K): z, its first column 1
    liking: Floats  # (n, memories · F): ℓ, its mean taken off
    tercile: Ints  # (n,) of past activity
    memories: int


@dataclass(frozen=True)
class _Plan:
    slates: Slates
    slots: _Slots
    traits: _Traits
    max_candidates: int
    chunk_slates: int
    seed: int


@dataclass(frozen=True)
class _Chunk:
    """Slates of one day and the items they could have shown."""

    at: Ints  # (n,) which slates
    state: Tensor  # (n, K)
    liking: Tensor  # (n, memories · F)
    items: Tensor  # (n, size), −1 where none
    candidates: Tensor  # (m,)
    weight: Tensor  # (m,) how many live items each stands for
    place: Tensor  # (n, size) of the shown items among the candidates, −1 where not drawn


@dataclass(frozen=True)
class _Policy:
    theta: Tensor  # (items, K)
    weights: Tensor  # (memories · F, F)
    traits: Tensor  # (items, F)


@dataclass(frozen=True)
class _Choice:
    """What a policy makes of a chunk, slots summed over a slate."""

    log_p: Tensor  # (n, size) of what was shown; 0 where nothing
    shown: Tensor  # (n, size) expected times that a shown item is chosen down to its own place
    others: Tensor  # (n, m) expected times of each candidate that the slate does not show, by its weight


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


def _drawn(mine: NDArray[np.bool_], most: int, seed: int) -> Ints:
    found = np.flatnonzero(mine)
    if len(found) <= most:
        return found
    return np.sort(np.random.default_rng([seed, 1]).choice(found, most, replace=False))


# What is read of items and slots


def _traits(log: EventLog, slates: Slates, gate: str | None, size: int, levels: int, wanted: bool) -> _Traits:
    if not wanted:
        return _Traits(np.zeros((len(slates.item_ids), 0), np.float32), np.zeros((0, 0), np.bool_), ())
    if log.items is None or not log.item_features:
        learned = _learned_traits(slates, _gated(log, slates, gate), size)
        full = np.ones((learned.shape[1],) * 2, np.bool_)
        return _Traits(learned, full, tuple(f"learned {place}" for place in range(learned.shape[1])))
    items = slates.item_ids.to_frame(ITEM).lazy().join(log.items, on=ITEM, how="left", maintain_order="left").collect()
    blocks: list[tuple[str, Floats, bool]] = []
    for name in log.item_features:
        column = items[name]
        if isinstance(column.dtype, pl.List):
            blocks.append((name, _rotated(column, size), True))
        elif column.dtype.is_float():
            blocks.append((name, _standard(column.to_numpy()[:, None]), True))
        else:
            blocks.append((name, _one_hot(column, levels), False))
    values = np.concatenate([block for _, block, _ in blocks], axis=1)
    owner = np.concatenate([np.full(block.shape[1], place) for place, (_, block, _) in enumerate(blocks)])
    free = np.array([full for *_, full in blocks])[owner]
    pairs = (owner[:, None] == owner) & (free[:, None] | np.eye(len(owner), dtype=np.bool_))
    return _Traits(values.astype(np.float32), pairs, tuple(name for name, *_ in blocks))


def _rotated(column: pl.Series, size: int) -> Floats:
    """Principal directions of an embedding about its origin, each of mean square 1; 0 where it is unknown."""
    known = column.is_not_null().to_numpy()
    values = np.zeros((len(column), int(column.list.len().max() or 0)))  # type: ignore[arg-type]
    if not values.shape[1]:
        return values.astype(np.float32)
    values[known] = np.array(column.drop_nulls().to_list())
    spread, directions = np.linalg.eigh(values.T @ values / max(known.sum(), 1))
    kept = spread > 1e-6 * spread[-1]
    spread, directions = spread[kept][-size:], directions[:, kept][:, -size:]
    return (values @ directions / np.sqrt(spread)).astype(np.float32)


def _standard(values: NDArray[np.floating]) -> Floats:
    """Columns of mean 0 and standard deviation 1, a constant one 0; 0, the average, where a value is unknown."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    largest = np.where(known, np.abs(values), 0).max(axis=0, initial=0)
    scaled = np.ldexp(np.where(known, values, 0).astype(np.float64), -np.frexp(largest)[1])  # exact, and at most 1
    centred = np.where(known, scaled - scaled.sum(axis=0) / count, 0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    return np.where(spread > _ROUNDING, centred / np.where(spread > _ROUNDING, spread, 1), 0).astype(np.float32)


def _one_hot(column: pl.Series, levels: int) -> Floats:
    counts = column.drop_nulls().alias("value").value_counts(name="n")
    common = counts.sort(["n", "value"], descending=[True, False])
    return np.stack(
        [(column == name).fill_null(False).to_numpy() for name in common["value"].head(levels)]
        or [np.zeros(len(column))],
        axis=1,
    ).astype(np.float32)


def _learned_traits(slates: Slates, gated: NDArray[np.bool_], size: int) -> Floats:
    """Left factors of who gated what, each item's row scaled by the root of its count."""
    row, place = np.nonzero(gated)
    item, user = slates.items[row, place], slates.user[row]
    often = np.sqrt(np.bincount(item, minlength=len(slates.item_ids)) + 1.0)
    many = np.sqrt(np.bincount(user, minlength=slates.users) + 1.0)
    table = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([item, user])),
        torch.from_numpy(1 / (often[item] * many[user])),
        (len(often), slates.users),
        check_invariants=True,
    ).coalesce()
    # the first factor is popularity; the range of a table is found by powers applied to random directions
    wanted = min(size + 1, *table.shape)
    random = np.random.default_rng(0).standard_normal((table.shape[1], wanted))
    basis = torch.from_numpy(random)
    for _ in range(4):
        basis = torch.linalg.qr(torch.sparse.mm(table.t(), torch.linalg.qr(torch.sparse.mm(table, basis))[0]))[0]
    left, strength, _ = torch.linalg.svd(torch.sparse.mm(table, basis), full_matrices=False)
    factors = (left[:, 1:] * (strength[1:] > 1e-9)).numpy() * often[:, None]
    return (factors / np.sqrt(np.maximum((factors**2).mean(axis=0), 1e-12))).astype(np.float32)


def _gated(log: EventLog, slates: Slates, gate: str | None) -> NDArray[np.bool_]:
    gated = slates.items >= 0
    if gate is not None:
        taken = log.events.select(pl.col(gate) > 0).collect().to_series().to_numpy()
        gated = np.zeros_like(gated)
        gated[slates.row, slates.place] = taken
    return gated


def _slots(
    log: EventLog,
    slates: Slates,
    traits: _Traits,
    gate: str | None,
    spans_days: Sequence[float],
    prior_days: float,
    memory_clicks: Sequence[float],
    context: Sequence[str],
    levels: int,
) -> tuple[_Slots, tuple[str, ...]]:
    activity = past_activity(slates, tuple(spans_days), prior_days)
    told = activity if len(spans_days) else activity[:, :0]
    columns = [np.ones((len(slates.user), 1), np.float32), _standard(told)]
    for name in context:
        column = log.events.select(name).collect().to_series()[_tops(slates)]
        columns.append(_standard(column.to_numpy()[:, None] if column.dtype.is_float() else _one_hot(column, levels)))
    liking = np.zeros((len(slates.user), 0), np.float32)
    if len(memory_clicks):
        gated = _gated(log, slates, gate)
        liking = np.concatenate([past_liking(slates, gated, traits.values, it) for it in memory_clicks], axis=1)
        liking -= liking.mean(axis=0)
    long = activity[:, -1]
    tercile = np.searchsorted(np.quantile(long, [1 / 3, 2 / 3]), long)
    names = (*(f"activity over {span:g} days" for span in spans_days), *context)
    return _Slots(np.concatenate(columns, axis=1), liking, tercile, len(memory_clicks)), names


def _tops(slates: Slates) -> Ints:
    """(n,) the row of the log at the top of each slate."""
    rows = np.empty(len(slates.user), np.int64)
    top = np.flatnonzero(slates.place == 0)
    rows[slates.row[top]] = top
    return rows


# The fit


def _chunks(plan: _Plan, at: Ints, draw: int) -> Iterator[_Chunk]:
    slates = plan.slates
    at = at[np.argsort(slates.day[at], kind="stable")]
    shown = np.bincount(slates.items[slates.items >= 0], minlength=len(slates.item_ids))
    days = np.flatnonzero(np.r_[True, np.diff(slates.day[at]) != 0, True]) if len(at) else np.zeros(0, np.int64)
    order = np.random.default_rng([plan.seed, 2, draw]).permutation(len(slates.item_ids))
    count = 0
    for begin, end in pairwise(days):
        live = slates.live(int(slates.day[at[begin]]))
        for start in range(begin, end, plan.chunk_slates):
            mine = at[start : min(start + plan.chunk_slates, end)]
            candidates, weight = _candidates(live, shown[live], plan.max_candidates, order[live], count * _GOLDEN % 1)
            count += 1
            yield _chunk(plan, mine, candidates, weight)


def _candidates(live: Ints, shown: Ints, most: int, order: Ints, start: float) -> tuple[Ints, Floats]:
    """All live items, or about ``most`` of them, the often shown more often, and how many each stands for.

    Drawn systematically: the chances are laid end to end in ``order`` and an item is drawn whose stretch holds one of
    start, start + 1, ..; starts that are spread evenly over chunks draw every item evenly over them.
    """
    if len(live) <= most:
        return live, np.ones(len(live), np.float32)
    chance = np.minimum(most * (0.5 * shown / shown.sum() + 0.5 / len(live)), 1)
    row = np.argsort(order)
    until = np.cumsum(chance[row]) + start
    drawn = np.sort(row[np.floor(until) > np.floor(until - chance[row])])
    return live[drawn], (1 / chance[drawn]).astype(np.float32)


def _chunk(plan: _Plan, at: Ints, candidates: Ints, weight: Floats) -> _Chunk:
    items = plan.slates.items[at]
    place = np.searchsorted(candidates, items)
    found = candidates[np.minimum(place, len(candidates) - 1)] == items
    return _Chunk(
        at,
        torch.from_numpy(plan.slots.state[at]),
        torch.from_numpy(plan.slots.liking[at]),
        torch.from_numpy(items),
        torch.from_numpy(candidates),
        torch.from_numpy(weight),
        torch.from_numpy(np.where(found, place, -1)),
    )


def _choose(policy: _Policy, chunk: _Chunk) -> _Choice:
    query = torch.cat([chunk.state, chunk.liking @ policy.weights], 1)
    key = torch.cat([policy.theta[chunk.candidates], policy.traits[chunk.candidates]], 1)
    score = query @ key.T  # (n, m)
    real = chunk.items >= 0
    safe = chunk.items.clamp(min=0)
    mine = torch.cat([policy.theta[safe], policy.traits[safe]], -1)  # (n, size, K + F)
    shown = torch.where(real, (mine @ query[:, :, None]).squeeze(-1), -torch.inf)
    top = torch.maximum(score.amax(1), shown.amax(1))
    raw = (score - top[:, None]).exp_()
    row, column = torch.nonzero(chunk.place >= 0, as_tuple=True)
    raw[row, chunk.place[row, column]] = 0
    raw *= chunk.weight
    rest = raw.sum(1)
    log_p = choice_log_likelihood(shown - top[:, None], rest.clamp(min=1e-30).log())
    # 1 / what is left to choose from at each place
    per_place = torch.where(real, (log_p - (shown - top[:, None])).exp(), 0.0)
    expected = torch.where(real, (shown - top[:, None]).exp() * per_place.cumsum(1), 0.0)
    return _Choice(log_p, expected, raw.mul_(per_place.sum(1, keepdim=True)))


def _fit(plan: _Plan, at: Ints, ridge: float, passes: int, tolerance: float) -> _Policy:
    """Newton steps on θ and W in turn: early ones on a quarter of the slates, the last three on all."""
    traits = torch.from_numpy(plan.traits.values)
    wide = plan.slots.liking.shape[1]
    allowed = torch.from_numpy(np.tile(plan.traits.pairs, (plan.slots.memories, 1)))
    policy = _Policy(_first_theta(plan, at), torch.zeros(wide, traits.shape[1]), traits)
    covariance = torch.eye(policy.theta.shape[1], dtype=torch.float64)
    quarter = _drawn(np.isin(np.arange(len(plan.slates.user)), at), max(len(at) // 4, 1), plan.seed)
    before = -np.inf
    for draw in range(passes):
        read = quarter if draw < passes - 3 else at
        if draw % 2 and wide:
            weights, now = _weight_step(plan, policy, read, draw, allowed, ridge)
            policy = replace(policy, weights=weights)
        else:
            theta, covariance, now = _theta_step(plan, policy, read, draw, covariance)
            policy = replace(policy, theta=theta)
        if draw >= passes - 3 and abs(now - before) < tolerance:
            break
        before = now
    return policy


def _first_theta(plan: _Plan, at: Ints) -> Tensor:
    """Each item's log rate in the slots of the days it was live, and no leaning."""
    items = plan.slates.items[at]
    count = np.bincount(items[items >= 0], minlength=len(plan.slates.item_ids))
    theta = torch.zeros(len(count), plan.slots.state.shape[1])
    theta[:, 0] = torch.from_numpy(np.log((count + 0.5) / (_slots_live(plan.slates, at) + 0.5)))
    return theta


def _slots_live(slates: Slates, at: Ints) -> Doubles:
    """(items,) slots on the days each item was live."""
    by_day = np.bincount(slates.day[at], (slates.items[at] >= 0).sum(axis=1), minlength=slates.days)
    until = np.r_[0.0, np.cumsum(by_day)]
    return until[slates.last + 1] - until[slates.first]


def _theta_step(plan: _Plan, policy: _Policy, at: Ints, draw: int, covariance: Tensor) -> tuple[Tensor, Tensor, float]:
    """A Newton step of all θ_x under their prior, the prior's covariance by steps of EM, mean log-likelihood.

    The curvature is Σ p z zᵀ, an upper bound of Σ p (1 − p) z zᵀ, but that of where the step begins: where an item was
    shown to users it was hardly expected to be shown to, it is far too flat. So no step moves an item's scores by more
    than `_LONGEST`, root of the mean square over slates.
    """
    items, k = policy.theta.shape
    upper = torch.triu_indices(k, k)
    slope, flat, log_p, slots = torch.zeros(items, k), torch.zeros(items, upper.shape[1]), 0.0, 0
    for chunk in _chunks(plan, at, draw):
        choice = _choose(policy, chunk)
        row, column = torch.nonzero(chunk.items >= 0, as_tuple=True)
        item, expected, z = chunk.items[row, column], choice.shown[row, column][:, None], chunk.state
        slope.index_add_(0, item, z[row] * (1 - expected))
        slope.index_add_(0, chunk.candidates, choice.others.T @ z, alpha=-1)
        pairs = z[:, upper[0]] * z[:, upper[1]]
        flat.index_add_(0, item, pairs[row] * expected)
        flat.index_add_(0, chunk.candidates, choice.others.T @ pairs)
        log_p += float(choice.log_p.sum(dtype=torch.float64))
        slots += len(row)
    curve = torch.zeros(items, k, k)
    curve[:, upper[0], upper[1]] = flat
    curve[:, upper[1], upper[0]] = flat
    state = torch.from_numpy(plan.slots.state[at]).double()
    seen = state.T @ state / max(len(state), 1)
    theta, covariance = _posterior(policy.theta.double(), slope.double(), curve.double(), covariance, seen)
    return theta.float(), covariance, log_p / max(slots, 1)


def _posterior(theta: Tensor, slope: Tensor, curve: Tensor, covariance: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    start, unit = theta, torch.eye(theta.shape[1], dtype=torch.float64)
    for _ in range(_EM_STEPS):
        mean, precision = theta.mean(0), torch.linalg.inv(covariance)
        left = torch.linalg.inv(curve + precision)
        step = (left @ (slope - (start - mean) @ precision)[:, :, None]).squeeze(-1)
        moved = ((step @ seen) * step).sum(1).clamp(min=0).sqrt()  # an item's scores
        theta = start + step * (_LONGEST / moved.clamp(min=_LONGEST))[:, None]
        away = theta - theta.mean(0)
        spread = away.T @ away / len(away) + left.mean(0)
        covariance = (spread + spread.T) / 2 + 1e-6 * unit
    return theta, covariance


def _weight_step(
    plan: _Plan, policy: _Policy, at: Ints, draw: int, allowed: Tensor, ridge: float
) -> tuple[Tensor, float]:
    """A Newton step of W, its curvature Σ ℓ ℓᵀ ⊗ the mean covariance of e, and the mean log-likelihood."""
    wide, f = policy.weights.shape
    slope, outer, spread = torch.zeros(wide, f), torch.zeros(wide, wide), torch.zeros(f, f)
    log_p, slots = 0.0, 0
    for chunk in _chunks(plan, at, draw):
        choice = _choose(policy, chunk)
        row, column = torch.nonzero(chunk.items >= 0, as_tuple=True)
        many = (chunk.items >= 0).sum(1, keepdim=True)
        traits = policy.traits[chunk.candidates]
        mean = choice.others @ traits
        surplus = policy.traits[chunk.items[row, column]] * (1 - choice.shown[row, column])[:, None]
        slope += chunk.liking.T @ (-mean).index_add_(0, row, surplus)
        outer += (chunk.liking * many).T @ chunk.liking
        spread += traits.T @ (choice.others.sum(0)[:, None] * traits) - mean.T @ (mean / many)
        log_p += float(choice.log_p.sum(dtype=torch.float64))
        slots += len(row)
    liking, trait = torch.nonzero(allowed, as_tuple=True)
    curve = outer.double()[liking][:, liking] * spread.double()[trait][:, trait] / max(slots, 1)
    curve += ridge * torch.eye(len(liking), dtype=torch.float64)
    step = torch.zeros(wide, f, dtype=torch.float64)
    step[liking, trait] = torch.linalg.solve(curve, (slope - ridge * policy.weights)[liking, trait].double())
    # the mean square of a slot's scores that the step makes differ between the items it could show
    moved = float(((outer.double() @ step) * (step @ spread.double())).sum().clamp(min=0)) ** 0.5 / max(slots, 1)
    weights = policy.weights + (step * (_LONGEST / max(moved, _LONGEST))).float()
    return weights, log_p / max(slots, 1)


# What is read off a fit


@dataclass(frozen=True)
class _Reading:
    log_p: Doubles  # (n, size) of what was shown, each slate under the fit of its own half; 0 where nothing
    shown: Doubles  # (halves, 3, items) times shown, by activity tercile
    expected: Doubles  # (halves, 3, items) times expected


def _read(plan: _Plan, policies: Sequence[_Policy], half: Ints) -> _Reading:
    log_p = np.zeros(plan.slates.items.shape)
    shown, expected = (torch.zeros(HALVES, 3, len(plan.slates.item_ids), dtype=torch.float64) for _ in range(2))
    for own, policy in enumerate(policies):
        for chunk in _chunks(plan, np.flatnonzero(half == own), _READING):
            choice = _choose(policy, chunk)
            log_p[chunk.at] = choice.log_p.numpy()
            tercile = torch.from_numpy(plan.slots.tercile[chunk.at])
            row, column = torch.nonzero(chunk.items >= 0, as_tuple=True)
            cell = (tercile[row], chunk.items[row, column])
            shown[own].index_put_(cell, torch.ones(len(row), dtype=torch.float64), accumulate=True)
            expected[own].index_put_(cell, choice.shown[row, column].double(), accumulate=True)
            others = torch.eye(3)[tercile].T @ choice.others
            expected[own].index_add_(1, chunk.candidates, others.double())
    return _Reading(log_p, shown.numpy(), expected.numpy())


def _optimism(plan: _Plan, policies: Sequence[_Policy], at: Ints, half: Ints) -> float:
    """Mean log-likelihood of a row under its own half's fit less that under the other's."""
    gap, rows = 0.0, 0
    for own in range(HALVES):
        for chunk in _chunks(plan, at[half[at] == own], _CHECKING):
            mine, other = (_choose(policies[which], chunk).log_p.double().sum() for which in (own, 1 - own))
            gap += float(mine - other)
            rows += int((chunk.items >= 0).sum())
    return gap / max(rows, 1)


# The check


def _calibration(
    plan: _Plan,
    policies: Sequence[_Policy],
    half: Ints,
    reading: _Reading,
    most: int,
    level: float,
    least_excess: float,
) -> Calibration:
    covariance, z = agreement(*_left_over(reading))
    excess = float(np.sqrt(max(covariance, 0.0)))
    some = _drawn(np.ones(len(half), np.bool_), most, plan.seed)
    mean = float(reading.log_p.sum() / len(plan.slates.row))
    held_out, uniform = mean - _optimism(plan, policies, some, half), _uniform(plan.slates)
    return Calibration(
        bins=_bins(plan, policies, some, half),
        z=z,
        excess=excess,
        flagged=(z > level and excess > least_excess) or not held_out >= uniform,
        log_likelihood=mean,
        held_out_log_likelihood=held_out,
        uniform_log_likelihood=uniform,
    )


def _left_over(reading: _Reading) -> tuple[Doubles, Doubles, Doubles]:
    """Share by which each cell of item and tercile was shown too often, in each half, and the cells' weight."""
    surplus = (reading.shown - reading.expected) / np.maximum(reading.expected, 1e-9)
    first, second = surplus.reshape(HALVES, -1)
    return first, second, np.sqrt(reading.expected.prod(axis=0)).ravel()


def _uniform(slates: Slates) -> float:
    live = np.array([len(slates.live(day)) for day in range(slates.days)])
    left = live[slates.day[slates.row]] - slates.place
    return float(-np.log(np.maximum(left, 1)).mean())


def _bins(plan: _Plan, policies: Sequence[_Policy], at: Ints, half: Ints) -> pl.DataFrame:
    """Pairs of a slate's top and a live item, by the probability that the other half's fit gives them."""
    edges = _edges((p, weight) for p, weight, *_ in _tops_foretold(plan, policies, at, half))
    bins = len(edges) + 1
    pairs: Doubles = np.zeros(bins)
    predicted, observed = np.zeros_like(pairs), np.zeros_like(pairs)
    surplus: Doubles = np.zeros((plan.slates.users, bins))
    for p, weight, top, users in _tops_foretold(plan, policies, at, half):
        where, hit = np.searchsorted(edges, p, side="right"), np.searchsorted(edges, top, side="right")
        foretold = p * weight
        pairs = pairs + np.bincount(where.ravel(), weight.ravel(), bins) + np.bincount(hit, minlength=bins)
        predicted += np.bincount(where.ravel(), foretold.ravel(), bins) + np.bincount(hit, top, bins)
        observed += np.bincount(hit, minlength=bins)
        cell = np.arange(len(p))[:, None] * bins + where
        expected = np.asarray(np.bincount(cell.ravel(), foretold.ravel(), len(p) * bins), np.float64).reshape(-1, bins)
        expected[np.arange(len(p)), hit] += top - 1
        np.add.at(surplus, users, -expected)
    pairs = np.maximum(pairs, 1)
    se = np.sqrt(np.square(surplus).sum(axis=0)) / pairs
    return pl.DataFrame(
        {
            "predicted": predicted / pairs,
            "observed": observed / pairs,
            "low": observed / pairs - 1.96 * se,
            "high": observed / pairs + 1.96 * se,
            "pairs": pairs,
        }
    )


def _tops_foretold(
    plan: _Plan, policies: Sequence[_Policy], at: Ints, half: Ints
) -> Iterator[tuple[Doubles, Doubles, Doubles, Ints]]:
    """By chunk: p (n, m) of the items not at the top and how many each stands for, p (n,) of the top, the users."""
    for which in range(HALVES):
        for chunk in _chunks(plan, at[half[at] == 1 - which], _CHECKING):
            top = replace(chunk, items=chunk.items[:, :1], place=chunk.place[:, :1])
            choice = _choose(policies[which], top)
            p = (choice.others / chunk.weight).double().numpy()
            weight = np.where(p > 0, chunk.weight.double().numpy(), 0.0)
            yield p, weight, choice.shown[:, 0].double().numpy(), plan.slates.user[chunk.at]


def _edges(foretold: Iterable[tuple[Doubles, Doubles]]) -> Doubles:
    """Nine edges between tenths of the pairs."""
    fine = np.geomspace(1e-12, 1.0, 2400)
    counts = sum(np.bincount(np.searchsorted(fine, p.ravel()), weight.ravel(), len(fine) + 1) for p, weight in foretold)
    cumulated = np.cumsum(counts)
    return fine[np.minimum(np.searchsorted(cumulated, np.arange(1, 10) / 10 * cumulated[-1]), len(fine) - 1)]
