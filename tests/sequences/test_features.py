import json
import math
from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reward.data.event_log import SchemaError
from reward.data.split import known_at
from reward.data.validation import MADE
from reward.features.events import Features
from reward.features.history import OWN_COLUMNS, slots
from reward.features.restored import from_json


def frame_of(log, features):
    return slots(
        log.events, timezone=log.timezone, session_gap_minutes=log.session_gap_minutes, first_day=features.first_day
    ).collect()


@pytest.fixture(scope="module")
def training(log, windows_of_time):
    return known_at(log, windows_of_time.train_end)


@pytest.fixture(scope="module")
def frame(training, features):
    return frame_of(training, features)


def column(features, numbers, name):
    return numbers[:, features.slot_names.index(name)]


def test_every_input_has_the_width_its_names_and_sizes_say(features, frame):
    numbers, categories = features.slot_inputs(frame)
    sizes = features.sizes()
    items = features.item_inputs(frame["item_id"])
    assert numbers.shape == (frame.height, len(features.slot_names)) == (frame.height, sizes["slot_numbers"])
    assert categories.shape == (frame.height, len(features.slot_categories))
    assert sizes["slot_categories"] == [3, 8]  # unknown, home, search; unknown and seven weekdays
    assert features.slot_categories == ("surface", "weekday")
    assert features.item_categories == ("genre",)
    assert sizes["item_categories"] == [4]
    assert features.item_numbers == ("minutes", "minutes is missing", "vector_0", "vector_1", "vector_2")
    assert items.numbers.shape == (frame.height, sizes["item_numbers"]) == (frame.height, 5)
    assert items.categories.shape == (frame.height, 1)
    assert features.feedback_inputs(frame).shape == (frame.height, sizes["feedback"]) == (frame.height, 2)
    assert (categories.max(0) < sizes["slot_categories"]).all()
    assert items.code.max() == sizes["items"] - 1
    assert {part.dtype for part in (numbers, items.numbers, features.feedback_inputs(frame))} == {np.dtype(np.float32)}
    assert {part.dtype for part in (categories, items.code, items.categories)} == {np.dtype(np.int64)}
    assert np.isfinite(numbers).all()
    assert np.isfinite(items.numbers).all()


def test_numeric_inputs_of_the_training_window_are_standardised(features, frame):
    numbers, _ = features.slot_inputs(frame)
    measured = [place for place, name in enumerate(features.slot_names) if not name.endswith(" is missing")]
    present = np.ones(numbers.shape, bool)
    present[:, features.slot_names.index("volume")] = frame["volume"].is_not_null().to_numpy()
    for place in measured:
        values = numbers[present[:, place], place].astype(float)
        assert values.mean() == pytest.approx(0, abs=1e-4)
        assert values.std(ddof=1) == pytest.approx(1, abs=1e-4)


def test_inputs_by_hand(small, fit):
    log = small([(1, "2024-05-01T08:00"), (1, "2024-05-01T09:00"), (2, "2024-05-02T08:00")], volume=[1.0, None, 3.0])
    log = replace(log, context=("volume",))
    features = fit(log)
    numbers, categories = features.slot_inputs(frame_of(log, features))
    low, high = math.asinh(1), math.asinh(3)
    mean, deviation = (low + high) / 2, (high - low) / math.sqrt(2)
    assert column(features, numbers, "volume") == pytest.approx(
        [(low - mean) / deviation, 0, (high - mean) / deviation], abs=1e-6
    )
    assert column(features, numbers, "volume is missing").tolist() == [0, 1, 0]
    gaps = np.array([0, math.log(2), 0])
    assert column(features, numbers, "gap_hours") == pytest.approx((gaps - gaps.mean()) / gaps.std(ddof=1))
    assert categories.shape == (3, 0)


def test_a_rate_is_the_share_of_past_days_and_the_training_users_share_where_there_are_none(small, fit):
    rows = [(1, "2024-05-01T08:00"), (1, "2024-05-02T08:00"), (2, "2024-05-01T08:00"), (2, "2024-05-03T08:00")]
    log = small(rows)
    features = fit(log)
    one, two = math.exp(-1 / 28), math.exp(-2 / 28)
    rate = (0 + one + 0 + two) / (0 + one + 0 + one + two)  # active over covered past days of the four rows
    assert features.past_rate == pytest.approx(rate)
    raw = np.array([rate, one / one, rate, two / (one + two)])
    mean, deviation = features.moments["rate_28d"]
    assert (mean, deviation) == pytest.approx((raw.mean(), raw.std(ddof=1)))
    numbers, _ = features.slot_inputs(frame_of(log, features))
    assert column(features, numbers, "rate_28d") == pytest.approx((raw - mean) / deviation, abs=1e-6)


def test_what_happens_after_training_changes_no_statistic(log, features, windows_of_time, fit):
    events = log.events.collect()
    day = windows_of_time.train_end
    later = ~pl.col("timestamp").is_in(known_at(log, day).events.collect()["timestamp"].implode())
    changed = events.with_columns(
        surface=pl.when(later).then(pl.lit("new")).otherwise("surface"),
        volume=pl.when(later).then(99.0).otherwise("volume"),
        listen_ms=pl.when(later).then(1e9).otherwise("listen_ms"),
        click=pl.when(later).then(7.0).otherwise("click"),
        item_id=pl.when(later).then(999).otherwise("item_id"),
    )
    assert not changed.equals(events)
    found = fit(known_at(replace(log, events=changed.lazy()), day))
    assert found.to_json() == features.to_json()
    assert found.items.equals(features.items)
    assert fit(replace(log, events=changed.lazy())).to_json() != features.to_json()


def test_an_item_needs_its_count_of_exposures_for_a_code(training, fit):
    counts = training.events.group_by("item_id").len().collect()
    least = int(counts["len"].median())
    found = fit(training, min_item_events=least).items.join(counts, on="item_id", how="left")
    known = pl.col("len").fill_null(0) >= least
    assert found.filter(known)["code"].to_list() == list(range(1, found.filter(known).height + 1))
    assert found.filter(~known)["code"].unique().to_list() == [0]


def test_a_category_needs_its_count_of_exposures_for_a_code(training, fit):
    surfaces = training.events.collect()["surface"].value_counts().drop_nulls().sort("count")
    rare, common = surfaces["surface"]
    found = fit(training, min_category_events=surfaces["count"][1])
    assert found.vocabularies["surface"] == (common,)
    _, categories = found.slot_inputs(frame_of(training, found))
    codes = dict(zip(frame_of(training, found)["surface"], categories[:, 0], strict=True))
    assert codes == {common: 1, rare: 0, None: 0}


def test_category_counts_are_of_exposures_and_not_of_items(small, fit):
    items = pl.LazyFrame({"item_id": [1, 2, 3], "genre": ["a", "b", "b"]})
    rows = [(1, f"2024-05-01T08:0{minute}") for minute in range(4)]
    log = replace(small(rows, item_id=[1, 1, 1, 2]), items=items, item_features=("genre",))
    assert fit(log, min_category_events=2).vocabularies["genre"] == ("a",)


def test_the_weekday_takes_part_from_enough_days_on(training, fit):
    assert "weekday" in fit(training, weekday_from_days=12).slot_categories
    found = fit(training, weekday_from_days=13)
    assert found.slot_categories == ("surface",)
    assert found.sizes()["slot_categories"] == [3]


def test_values_that_training_did_not_know_get_code_0(frame, features):
    odd = frame.with_columns(surface=pl.lit("shelf"), item_id=pl.lit(12345, pl.Int64))
    assert (features.slot_inputs(odd)[1][:, 0] == 0).all()
    items = features.item_inputs(odd["item_id"])
    assert (items.code == 0).all()
    assert (items.categories == 0).all()
    assert items.numbers[0].tolist() == [0, 1, 0, 0, 0]


def test_an_items_own_inputs_are_those_of_its_row_in_the_table(log, features):
    items = log.items.collect()
    found = features.item_inputs(items["item_id"])
    mean, deviation = features.moments["minutes"]
    minutes = items["minutes"].to_numpy()
    expected = np.where(np.isnan(minutes), 0, (np.arcsinh(minutes) - mean) / deviation)
    assert found.numbers[:, 0] == pytest.approx(expected, abs=1e-5)
    assert found.numbers[:, 1].tolist() == items["minutes"].is_null().cast(pl.Float64).to_list()
    assert found.numbers[:, 2:] == pytest.approx(np.array(items["vector"].to_list()), abs=1e-6)
    assert found.categories[:, 0].tolist() == [
        0 if genre is None else "abc".index(genre) + 1 for genre in items["genre"]
    ]
    order = np.array([3, 0, 3, 29])
    again = features.item_inputs(items["item_id"][order])
    for name in ("code", "categories", "numbers"):
        assert np.array_equal(getattr(again, name), getattr(found[order], name))


def test_a_table_gives_features_to_items_that_training_did_not_know(features):
    fresh = pl.DataFrame(
        {
            "item_id": [500, 501, 3],
            "genre": ["b", "opera", "a"],
            "minutes": [12.0, None, 1e6],
            "vector": [[1.0, 2.0, 3.0], None, [9.0, 9.0, 9.0]],
        },
        schema_overrides={"vector": pl.List(pl.Float32)},
    )
    wanted = pl.Series("item_id", [501, 3, 500, 777])
    found = features.item_inputs(wanted, fresh)
    plain = features.item_inputs(wanted)
    mean, deviation = features.moments["minutes"]
    assert found.code[[0, 2, 3]].tolist() == [0, 0, 0]
    assert found.categories[:, 0].tolist() == [0, plain.categories[1, 0], 2, 0]
    assert found.numbers[2] == pytest.approx([(math.asinh(12) - mean) / deviation, 0, 1, 2, 3])
    assert found.numbers[0].tolist() == [0, 1, 0, 0, 0]
    assert found.numbers[1] == pytest.approx(plain.numbers[1])  # what training knew of an item stands
    assert found.code[1] == plain.code[1]


def items_of(**columns):
    found = {"item_id": [500], "genre": ["a"], "minutes": [1.0], "vector": [[1.0, 2.0, 3.0]], **columns}
    return pl.DataFrame({name: values for name, values in found.items() if values is not None})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vector": None, "genre": None}, "no column 'genre'; .*no column 'vector'; its columns are item_id, minutes"),
        ({"item_id": ["x"]}, "has 'item_id' as String, expected Int64"),
        ({"minutes": ["long"]}, "has 'minutes' as String, expected Float64"),
        ({"vector": [[1.0, 2.0]]}, "'vector' has embeddings of another length, expected 3"),
        (
            {"item_id": [5, 5], "genre": ["a", "b"], "minutes": [1.0, 2.0], "vector": [[1.0] * 3] * 2},
            "item_id is not unique",
        ),
    ],
)
def test_an_items_table_that_does_not_fit_is_refused(features, columns, message):
    with pytest.raises(SchemaError, match=f"the items table does not fit: .*{message}"):
        features.item_inputs(pl.Series("item_id", [500]), items_of(**columns))


def test_an_items_table_may_come_in_other_types_of_the_same_meaning(features):
    wanted = pl.Series("item_id", [500])
    plain = features.item_inputs(wanted, items_of())
    other = items_of(minutes=[1], vector=[[1, 2, 3]], extra=[0]).cast({"item_id": pl.Int16, "genre": pl.Categorical})
    assert np.array_equal(features.item_inputs(wanted, other).numbers, plain.numbers)
    assert np.array_equal(features.item_inputs(wanted, other).categories, plain.categories)
    assert features.item_inputs(wanted, items_of(minutes=[math.nan])).numbers[0, :2].tolist() == [0, 1]


def test_embeddings_that_only_unseen_items_have_are_read(log, fit):
    seen = pl.col("item_id") < 5
    items = log.items.with_columns(vector=pl.when(seen).then(None).otherwise("vector"))
    features = fit(replace(log, events=log.events.filter(seen), items=items))
    found = features.item_inputs(pl.Series("item_id", [3, 9]))
    assert found.numbers[0, 2:].tolist() == [0, 0, 0]
    assert found.numbers[1, 2:].all()


@pytest.mark.parametrize("name", ["weekday", "visible", "gap_hours", "active_2d", "rate_7d", "code", "trace", "genre"])
def test_a_column_with_a_name_that_is_taken_is_refused(log, fit, name):
    changed = replace(log, events=log.events.rename({"surface": name}), context=(name, "volume"))
    with pytest.raises(SchemaError, match=f"^{name}: a column's name is taken, .* rename the column"):
        fit(changed)


def test_every_column_that_slots_make_is_a_taken_name(log, features):
    made = set(frame_of(log, features).columns) - set(log.events.collect_schema().names())
    assert made == set(OWN_COLUMNS)
    assert made <= MADE  # so that the check of a log refuses them


def test_flags_enter_as_they_are_and_quantities_as_standardised_logarithms(frame, features):
    found = features.feedback_inputs(frame)
    assert features.flags == ("click",)
    assert found[:, 0].tolist() == frame["click"].to_list()
    logs = np.log1p(frame["listen_ms"].to_numpy())
    assert found[:, 1] == pytest.approx((logs - logs.mean()) / logs.std(ddof=1), abs=1e-5)


def test_a_log_without_items_or_context_has_inputs_of_no_columns(small, fit):
    log = small([(1, "2024-05-01T08:00"), (2, "2024-05-02T08:00")])
    features = fit(log)
    items = features.item_inputs(log.events.collect()["item_id"])
    assert items.numbers.shape == items.categories.shape == (2, 0)
    assert features.sizes()["item_numbers"] == 0
    assert features.sizes()["items"] == 1
    assert features.slot_inputs(frame_of(log, features))[1].shape == (2, 0)


def test_inputs_that_never_vary_are_zero_and_not_nan(small, fit):
    log = small([(1, "2024-05-01T08:00"), (2, "2024-05-01T08:00")], volume=[5.0, 5.0], quiet=[None, None])
    log = replace(
        log,
        events=log.events.with_columns(pl.col("quiet").cast(pl.Float64)),
        context=("volume", "quiet"),
    )
    features = fit(log)
    numbers, _ = features.slot_inputs(frame_of(log, features))
    assert np.isfinite(numbers).all()
    assert column(features, numbers, "volume").tolist() == [0, 0]
    assert column(features, numbers, "quiet").tolist() == [0, 0]
    assert column(features, numbers, "quiet is missing").tolist() == [0, 0]
    assert {"volume", "quiet", "quiet is missing"} <= set(features.constant)


def test_features_survive_json(features, frame):
    text = json.dumps(features.to_json(), allow_nan=False)
    again = from_json(json.loads(text), features.items)
    for field in fields(Features):
        ours, theirs = getattr(features, field.name), getattr(again, field.name)
        if field.name == "items":
            assert_frame_equal(ours, theirs)
        else:
            assert ours == theirs
            assert type(ours) is type(theirs)
    assert np.array_equal(again.slot_inputs(frame)[0], features.slot_inputs(frame)[0])
    assert again.sizes() == features.sizes()
