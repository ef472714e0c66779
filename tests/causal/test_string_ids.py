"""Effects of items whose ids are strings: of any script and length, some with NULs at their end."""

import numpy as np
import polars as pl
import pytest
import torch
from estimators import PERSONAL

from reward.causal.choosing import groups_of
from reward.causal.estimate import estimate_effects
from reward.causal.user_effects.model import PersonalizedEffect
from reward.causal.user_effects.state_dict import arguments
from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace

OUTCOME, ITEMS, USERS, DAYS = ActivityTrace(4), 8, 80, 20
STRANGE = ["a", "a\0", "a\0\0", "é", "e\u0301", "", " ", "z" * 10_000]
SETTINGS = {
    "gate": "click",
    "rare": [],
    "group": "creator",
    "folds": 3,
    "most_weight": 50.0,
    "smooth_days": 30.0,
    "curve_rounds": 1,
    "joint_rounds": 1,
    "personal": PERSONAL,
    "seed": 0,
}


def log_of(names):
    """A made-up log whose items have these ids: the same in all else."""
    rng = np.random.default_rng(3)
    user, day = np.nonzero(rng.random((USERS, DAYS)) < rng.uniform(0.2, 0.8, USERS)[:, None])
    item = rng.integers(0, ITEMS, len(user))
    ids = pl.Series("item_id", names)
    events = pl.DataFrame(
        {
            "user_id": user,
            "timestamp": np.datetime64("2024-01-01T12:00", "us") + day.astype("timedelta64[D]"),
            "click": rng.random(len(user)) < 0.4 + 0.04 * item,
            "propensity": np.full(len(user), 1 / ITEMS),
        }
    ).with_columns(ids.gather(item))
    creators = [None, None, "c\0", "c", "3", "c", None, "c\0"]
    items = pl.DataFrame([ids, pl.Series("creator", creators), pl.Series("minutes", np.arange(ITEMS) * 1.0)])
    log = EventLog(events.lazy(), ("click",), 30, 0.0, items=items.lazy(), item_features=("creator", "minutes"))
    return check(log).log


def rewards(personal, log, ids, items_table=None):
    """Of candidates at the log's end, for each user."""
    events = log.events.collect()
    users = events["user_id"].unique().sort()
    standing = personal.history(events, users).state(np.arange(len(users)), np.full(len(users), 19_723.0 + DAYS))
    order = np.argsort(ids)
    facts = personal.known(ids[order], items_table)
    return personal.score(standing, facts.of(torch.from_numpy(np.argsort(order))[None]))


@pytest.fixture(scope="module")
def numbered():
    return estimate_effects(log_of(range(ITEMS)), OUTCOME, **SETTINGS)


def test_what_an_item_did_does_not_hang_on_what_it_is_called(numbered):
    names = sorted(STRANGE)
    named = estimate_effects(log_of(names), OUTCOME, **SETTINGS)
    assert named.items["item_id"].to_list() == names
    for column in ("mean", "std", "exposures"):
        assert named.items[column].to_list() == numbered.items[column].to_list()
    by_number = rewards(numbered.model, log_of(range(ITEMS)), np.arange(ITEMS))
    by_name = rewards(named.model, log_of(names), np.array(names, object))
    assert torch.equal(by_number.mean, by_name.mean)
    assert torch.equal(by_number.std, by_name.std)


def test_string_ids_are_kept_as_they_are(numbered):
    log = log_of(sorted(STRANGE))
    personal = estimate_effects(log, OUTCOME, **SETTINGS).model
    table = personal.to_table()
    assert table.schema["item_id"] == pl.String
    again = PersonalizedEffect(**arguments(personal.to_json(), table, personal.state_dict()))
    assert again.ids.tolist() == sorted(STRANGE)
    one, two = (rewards(each, log, np.array(STRANGE, object)) for each in (personal, again))
    assert torch.equal(one.mean, two.mean)
    assert numbered.model.to_table().schema["item_id"] == pl.Int64


def test_items_that_the_log_does_not_hold_are_told_apart_and_foretold_by_their_features():
    log = log_of(sorted(STRANGE))
    personal = estimate_effects(log, OUTCOME, **SETTINGS).model
    new = np.array(["a\0\0\0", "b", "z" * 9_999], object)
    codes = personal.codes(new)
    assert (codes > ITEMS).all()
    assert len(set(codes.tolist())) == 3
    assert personal.codes(new[::-1]).tolist() == codes[::-1].tolist()
    assert (personal.codes(np.array(sorted(STRANGE), object)) == np.arange(ITEMS)).all()
    told = pl.DataFrame({"item_id": new.tolist(), "creator": ["c", "c\0", ""], "minutes": [1.0, 1.0, 1.0]})
    groups = personal.known(new, told).group.tolist()
    known = personal.known(np.array(sorted(STRANGE), object)).group.tolist()
    assert groups == [known[3], known[2], -1]  # a creator without a name is none of those known


def test_one_long_id_among_many_rows_takes_no_room_in_the_others(numbered):
    personal = numbered.model.replaced(ids=np.array(sorted(STRANGE), object))
    many = pl.Series("item_id", ["z" * 10_000, *["short"] * 99_999])
    codes = personal.codes(many.unique().sort().to_numpy())
    assert len(codes) == 2
    assert personal.codes(many.to_numpy()).nbytes == 8 * len(many)


def test_groups_are_those_of_the_table_and_an_item_without_one_has_its_own():
    log = log_of(sorted(STRANGE))
    table = log.items.collect()
    codes = groups_of(table, "creator").tolist()
    assert codes[3] == codes[5]
    assert codes[2] == codes[7]
    assert len(set(codes)) == 3 + 3
    assert sorted(set(codes)) == list(range(6))
    assert groups_of(table, None).tolist() == list(range(ITEMS))
