from collections import defaultdict
from dataclasses import replace

import polars as pl
import pytest

from reward.data.event_log import SchemaError
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.consumption import Consumption


def last_day(log):
    return ActivityTrace(3).label(log, 0).select(pl.col("day").max()).collect().item() + 1


def test_amounts_are_the_sums_of_the_days_ahead(log):
    end = last_day(log)
    events = ActivityTrace(4).label(log, end).collect()
    total = defaultdict(float)
    for user, day, amount in events.select("user_id", "day", "listen_ms").rows():
        total[user, day] += amount
    found = Consumption("listen_ms", 4).label(log, end).collect()
    assert found["observed"].to_list() == events["observed"].to_list()
    for user, day, amounts in found.select("user_id", "day", "amount").rows():
        assert list(amounts) == pytest.approx([total[user, day + ahead] for ahead in range(1, 5)])


def test_days_known_before_are_not_told_again(log):
    end = last_day(log)
    found = Consumption("listen_ms", 4).label(log, end, since=end - 3).collect()
    expected = ActivityTrace(4).label(log, end, since=end - 3).collect()
    assert found["observed"].to_list() == expected["observed"].to_list()
    assert (found["observed"] == 0).any()


def test_a_quantity_that_is_no_feedback_is_refused(log):
    with pytest.raises(SchemaError, match=r"quantity='minutes' expected one of the feedback columns \['click'"):
        Consumption("minutes", 4).label(log, 0)


def test_horizon_and_unit():
    assert Consumption("listen_ms", 14).unit == "listen_ms in the next 14 days"
    with pytest.raises(ValueError, match="from 1 to 63, got 0"):
        Consumption("listen_ms", 0)


def test_the_quantity_may_have_the_name_of_the_label(log):
    end, named = last_day(log), log.events.rename({"listen_ms": "amount"})
    found = Consumption("amount", 4).label(replace(log, events=named, feedback=("click", "amount")), end).collect()
    expected = Consumption("listen_ms", 4).label(log, end).collect()
    assert found["amount"].equals(expected["amount"])
