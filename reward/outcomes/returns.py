"""Return time: how long until a user is back, and since which day the log can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from reward.columns import TIMESTAMP
from reward.data.days import DAY, OBSERVED, TRACE, observed_days
from reward.data.event_log import EventLog, SchemaError
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.protocol import STATES, Parts, day_parts

TIME_DAYS = "time_days"
EVENT = "event"
ENTRY_DAYS = "entry_days"
CAUSE = "cause"
_BROUGHT = "brought back by"


def waited(trace: pl.Expr, observed: pl.Expr, seen: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """How long a wait was, whether it ended, and since when it was watched, from words whose bits are days.

    Args:
        trace: days on which what is waited for comes, of those observed.
        observed: days that are known: all up to one of them.
        seen: days that had passed when the wait began to be watched.

    Returns:
        ``time_days``, the first day of the trace or the last known one; ``event``, 1 where the trace has a day; and
        ``entry_days``.
    """
    silent = pl.when(trace == 0).then(observed).otherwise((trace & -trace) - 1)
    return (
        (silent.bitwise_count_ones().cast(pl.Int64) + (trace != 0)).alias(TIME_DAYS),
        (trace != 0).cast(pl.Int64).alias(EVENT),
        seen.bitwise_count_ones().cast(pl.Int64).alias(ENTRY_DAYS),
    )


@dataclass(frozen=True)
class ReturnTime:
    """The first of the next ``horizon_days`` days on which the user is back, right-censored, with delayed entry.

    For an event on day D ``time_days`` is d and ``event`` 1 where the user is active on day D+d and on none between;
    where the log ends first, ``time_days`` is the last day known to be silent and ``event`` 0. ``entry_days`` of them
    had passed when the wait began to be watched: with ``since`` the days known before it, else 0; a row that enters
    at or after its return says nothing. Later events of day D itself do not count.

    Beside these, ``trace`` and ``observed`` tell the same day by day: bit d−1 of ``trace`` is set where the user is
    back by day D+d, and bit d−1 of ``observed`` where that day lies inside the log and, with ``since``, not before it.
    Whether the user has returned makes no difference to that: days known of those alone who have, or have not, would
    not tell how many are back by then.

    Attributes:
        horizon_days: H, 1 to 63.
        scope: whose return, and to what; see `ActivityTrace`.
        active_if: what counts as activity; see `ActivityTrace`.
        reason: a context column that says what brought the user back, by the first event of the day that counts as
            activity; None: a return is a return. With it the target is ``cause`` in place of ``event``.
        reasons: its values; ``cause`` is k for the k-th and one more than there are for any other.
        whole_sessions: a session that goes on after midnight is no return; see `ActivityTrace`.
    """

    horizon_days: int
    scope: str = "user"
    active_if: str | None = None
    reason: str | None = None
    reasons: Sequence[str] = ()
    whole_sessions: bool = False

    states = STATES
    once = False

    def __post_init__(self) -> None:
        self._activity()
        object.__setattr__(self, "reasons", tuple(self.reasons))
        if (self.reason is None) != (len(self.reasons) == 0):
            raise ValueError(f"reason and reasons expected both or neither, got {self.reason!r} and {self.reasons}")

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns that training reads."""
        return (TIME_DAYS, EVENT if self.reason is None else CAUSE, ENTRY_DAYS)

    @property
    def unit(self) -> str:
        """The unit of a value: what one point of it means."""
        to_what = "" if self.scope == "user" else f" to the same {self.scope}"
        return f"days back{to_what} in the next {self.horizon_days} days"

    @property
    def counted(self) -> str:
        """What a distribution's outcomes are."""
        return f"day of the return; {self.horizon_days + 1}: later or never"

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame:
        """The log's events, in their order, with ``day``, `targets`, ``trace`` and ``observed``.

        Args:
            log: a checked log.
            end_day: first day that is not wholly known (days since 1970-01-01).
            since: count only days that were not yet known when this was the ``end_day``.

        Raises:
            SchemaError: see `ActivityTrace.label`; or ``reason`` is no context column.
        """
        trace, observed = pl.col(TRACE), pl.col(OBSERVED)
        activity = self._activity()
        log = log if self.reason is None else self._with_reasons(log)
        seen = pl.lit(0, pl.Int64) if since is None else observed_days(pl.col(DAY), since, self.horizon_days)
        first = trace & -trace  # the word's lowest bit, the return
        back = pl.when(trace == 0).then(0).otherwise(pl.lit((1 << self.horizon_days) - 1, pl.Int64) & ~(first - 1))
        labels = activity.label(log, end_day).with_columns(
            *waited(trace, observed, seen),
            back.alias(TRACE),
            (observed & ~seen).alias(OBSERVED),
        )
        labels = labels.with_columns(trace & observed)
        return labels if self.reason is None else self._with_cause(labels)

    def parts(self, labels: pl.DataFrame) -> Parts:
        """Days, as `label` tells them."""
        return day_parts(labels, self.horizon_days)

    def _with_reasons(self, log: EventLog) -> EventLog:
        """With the reason of each event that counts as activity, before a label takes the name of its column."""
        if self.reason not in log.context:
            raise SchemaError(f"reason={self.reason!r} expected one of the context columns {list(log.context)}")
        active = pl.lit(True) if self.active_if is None else pl.col(self.active_if) > 0
        code = pl.col(self.reason).replace_strict(
            {value: k for k, value in enumerate(self.reasons, 1)}, default=len(self.reasons) + 1, return_dtype=pl.Int64
        )
        return replace(log, events=log.events.with_columns(pl.when(active).then(code).alias(_BROUGHT)))

    def _with_cause(self, labels: pl.LazyFrame) -> pl.LazyFrame:
        keys = self._activity().keys
        code = pl.col(_BROUGHT)
        first = labels.filter(code.is_not_null()).group_by(*keys, DAY).agg(code.sort_by(TIMESTAMP).first())
        brought = first.rename({DAY: "return_day", _BROUGHT: CAUSE})
        returned = (pl.col(DAY) + pl.col(TIME_DAYS)).alias("return_day")
        return (
            labels.drop(_BROUGHT, CAUSE, strict=False)
            .with_columns(returned)
            .join(brought, on=[*keys, "return_day"], how="left", maintain_order="left")
            .with_columns(pl.col(CAUSE).fill_null(0) * pl.col(EVENT))
            .drop("return_day")
        )

    def _activity(self) -> ActivityTrace:
        return ActivityTrace(self.horizon_days, self.scope, self.active_if, self.whole_sessions)
