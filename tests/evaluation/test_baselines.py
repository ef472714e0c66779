import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from reward.columns import TIMESTAMP
from reward.data.days import DAY, OBSERVED, TRACE
from reward.data.split import known_at, midnight
from reward.evaluation.baseline_models import (
    Columns,
    Examples,
    base_rate,
    boosted_trees,
    calibrated,
    engineered,
    logistic_regression,
)
from reward.evaluation.baselines import baselines
from reward.evaluation.metrics import log_loss
from reward.sequences.stream import Stream

GROUPS = ("activity", "feedback", "items")
LOGISTIC = {"strengths": (10.0, 1.0), "max_categories": 10}
TREES = {
    "parameters": {"learning_rate": 0.1, "num_leaves": 7, "min_data_in_leaf": 20, "feature_fraction": 0.7},
    "max_trees": 60,
    "patience": 10,
    "num_threads": 1,
}


def examples_of(rows=400, days=2, seed=0, chance=None, share=0.8):
    """Random columns in every group; ``chance(inputs, day)`` gives the log-odds of being active."""
    rng = np.random.default_rng(seed)
    inputs = {
        name: Columns(rng.normal(size=(rows, 2)).astype(np.float32), rng.integers(0, 4, (rows, 1))) for name in GROUPS
    }
    logits = np.stack(
        [np.zeros(rows) if chance is None else np.broadcast_to(chance(inputs, day), rows) for day in range(days)], 1
    )
    trace = rng.random((rows, days)) < 1 / (1 + np.exp(-logits))
    return Examples(inputs, trace, rng.random((rows, days)) < share)


def loss_of(forecast, examples):
    chance = 1 / (1 + np.exp(-forecast(examples.inputs)))
    return log_loss(chance, examples.trace, examples.observed)


def fit_logistic(training, validation, **changes):
    return logistic_regression(training, validation, **({"groups": GROUPS} | LOGISTIC | changes))


def fit_trees(training, validation, **changes):
    pytest.importorskip("lightgbm")
    return boosted_trees(training, validation, **({"seed": 0} | TREES | changes))


def fit_rate(training, validation):
    return base_rate(training)


@pytest.fixture(params=[fit_rate, fit_logistic, fit_trees])
def fit_any(request):
    return request.param


@pytest.fixture
def by_hand(small, fit):
    def build(rows, **columns):
        log = replace(small(rows, **columns), flags=("click",))
        return engineered(Stream.build(log.events, fit(log)))["feedback"].numbers

    return build


def test_means_are_of_the_rows_before_and_rows_of_one_moment_do_not_see_each_other(by_hand):
    found = by_hand(
        [
            (1, "2024-01-01 10:00"),
            (1, "2024-01-01 10:00"),
            (1, "2024-01-01 10:05"),
            (1, "2024-01-02 09:00"),
            (2, "2024-01-01 11:00"),
            (2, "2024-01-03 11:00"),
        ],
        click=[1.0, 0.0, 1.0, 0.0, 0.0, 1.0],
    )
    # click, mean of the clicks before, whether there are none
    expected = [[1, 0, 1], [0, 0, 1], [1, 1 / 2, 0], [0, 2 / 3, 0], [0, 0, 1], [1, 0, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rows_of_one_request_read_what_was_before_its_first_row(by_hand):
    moments = ["2024-01-01 10:00", "2024-01-01 10:10", "2024-01-01 10:11", "2024-01-01 10:20"]
    found = by_hand([(1, each) for each in moments], click=[1.0, 0.0, 1.0, 0.0], request_id=["a", "b", "b", "c"])
    np.testing.assert_allclose(found[:, 1], [0, 1, 1, 2 / 3], rtol=1e-6)


def test_every_mean_is_the_one_a_loop_finds(stream):
    found = engineered(stream)["feedback"].numbers
    events, columns = stream.events, stream.events.feedback.shape[1]
    assert found.shape == (len(events), 2 * columns + 1)
    np.testing.assert_array_equal(found[:, :columns], events.feedback)
    for row, (user, visible) in enumerate(zip(events.user, events.visible, strict=True)):
        before = events.feedback[stream.offsets[user] : stream.offsets[user] + visible]
        expected = before.mean(axis=0) if visible else np.zeros(columns)
        np.testing.assert_allclose(found[row, columns:-1], expected, atol=1e-5)
        assert found[row, -1] == (visible == 0)


def test_activity_is_the_slot_and_items_are_their_code_and_features(stream):
    found = engineered(stream)
    assert tuple(found) == GROUPS
    assert found["activity"].numbers is stream.events.slot_numbers
    assert found["activity"].codes is stream.events.slot_categories
    np.testing.assert_array_equal(found["items"].codes[:, 0], stream.events.items.code)
    np.testing.assert_array_equal(found["items"].codes[:, 1:], stream.events.items.categories)
    np.testing.assert_array_equal(found["items"].numbers, stream.events.items.numbers)


def test_later_rows_do_not_change_the_columns_of_earlier_ones(log, features, stream, windows_of_time):
    end = windows_of_time.train_end
    early = stream.events.time < midnight(end, log.timezone).timestamp() * 1e6
    alone = engineered(Stream.build(known_at(log, end).events, features))
    for name, (numbers, codes) in engineered(stream).items():
        np.testing.assert_allclose(alone[name].numbers, numbers[early], atol=1e-6)
        np.testing.assert_array_equal(alone[name].codes, codes[early])


def test_rows_without_an_observed_day_are_left_out(stream):
    observed = torch.zeros(len(stream.events), dtype=torch.int64)
    observed[3], observed[5] = 0b011, 0b100
    found = Examples.of(stream, torch.full_like(observed, 0b101), observed, horizon_days=3)
    assert found.observed.tolist() == [[True, True, False], [False, False, True]]
    assert found.trace.tolist() == [[True, False, True]] * 2
    for name, (numbers, codes) in engineered(stream).items():
        np.testing.assert_array_equal(found.inputs[name].numbers, numbers[[3, 5]])
        np.testing.assert_array_equal(found.inputs[name].codes, codes[[3, 5]])


def test_words_of_other_rows_are_refused(stream):
    words = torch.ones(len(stream.events), dtype=torch.int64)
    with pytest.raises(ValueError, match=rf"a word for each of the stream's {len(words)} events, got trace"):
        Examples.of(stream, words[1:], words[1:], horizon_days=3)


def test_rows_of_which_nothing_is_known_are_refused(stream):
    words = torch.zeros(len(stream.events), dtype=torch.int64)
    with pytest.raises(ValueError, match="expected at least one observed day, got none: give events with"):
        Examples.of(stream, words, words, horizon_days=3)


def test_what_stands_in_masked_bits_never_matters(fit_any):
    training, validation = examples_of(seed=1), examples_of(seed=2)
    forecasts = []
    for garbage in (False, True):
        noisy = [replace(each, trace=np.where(each.observed, each.trace, garbage)) for each in (training, validation)]
        forecasts.append(fit_any(*noisy)(validation.inputs))
        forecasts.append(calibrated(fit_any(*noisy), noisy[1], prior_events=5)(validation.inputs))
    np.testing.assert_array_equal(forecasts[0], forecasts[2])
    np.testing.assert_array_equal(forecasts[1], forecasts[3])


def test_the_same_arguments_give_the_same_forecast(fit_any):
    training, validation = examples_of(seed=1), examples_of(seed=2)
    first, again = (fit_any(training, validation)(validation.inputs) for _ in range(2))
    assert first.shape == (400, 2)
    assert first.dtype == np.float64
    np.testing.assert_array_equal(first, again)


def test_the_base_rate_is_that_of_the_observed_bits():
    trace = np.array([[True, True], [True, False], [False, True], [True, True]])
    observed = np.array([[True, False], [True, True], [True, True], [True, False]])
    examples = replace(examples_of(rows=4), trace=trace, observed=observed)
    # 3 of 4 and 1 of 2 active, 4 of 6 over both days
    overall = 4.5 / 7
    expected = np.array([3 + overall, 1 + overall]) / [5, 3]
    logits = base_rate(examples)(examples_of(rows=3).inputs)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), np.tile(expected, (3, 1)))


def test_a_day_that_training_never_observed_gets_the_rate_of_the_others(fit_any):
    training = examples_of(chance=lambda inputs, day: 1.0, share=1.0, rows=2_000)
    unseen = replace(training, observed=training.observed & [True, False])
    chance = 1 / (1 + np.exp(-fit_any(unseen, training)(training.inputs)))
    np.testing.assert_allclose(chance[:, 1].mean(), 0.73, atol=0.04)


@pytest.mark.parametrize("strength", [0.5, 20.0])
def test_one_day_agrees_with_scikit_learn(strength):
    training = examples_of(chance=lambda inputs, day: inputs["activity"].numbers[:, 0] - 0.5, days=1, seed=3)
    validation = examples_of(days=1, seed=4)
    forecast = fit_logistic(training, validation, groups=("activity", "items"), strengths=[strength])

    def raw(inputs):
        hot = [inputs[name].codes == np.arange(4) for name in ("activity", "items")]
        return np.hstack([inputs["activity"].numbers, inputs["items"].numbers, *hot]).astype(float)

    columns, seen = raw(training.inputs), training.observed[:, 0]
    mean, deviation = columns.mean(0), columns.std(0)
    oracle = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10_000)
    oracle.fit(((columns - mean) / deviation)[seen], training.trace[seen, 0])
    expected = oracle.decision_function((raw(validation.inputs) - mean) / deviation)
    np.testing.assert_allclose(forecast(validation.inputs)[:, 0], expected, atol=1e-4)


def test_the_days_of_a_logistic_regression_are_fitted_as_if_alone():
    training, validation = examples_of(days=3, seed=5), examples_of(days=3, seed=6)
    together = fit_logistic(training, validation, strengths=[3.0])(validation.inputs)
    for day in range(3):
        only = [replace(it, trace=it.trace[:, [day]], observed=it.observed[:, [day]]) for it in (training, validation)]
        alone = fit_logistic(*only, strengths=[3.0])(validation.inputs)
        np.testing.assert_allclose(alone[:, 0], together[:, day], atol=1e-3)


def test_a_logistic_regression_recovers_the_log_odds_it_was_made_with():
    def chance(inputs, day):
        return (1.5 - day) * inputs["feedback"].numbers[:, 1] + 0.8 * (inputs["items"].codes[:, 0] == 2) - 0.3

    training, validation = (examples_of(rows=20_000, chance=chance, seed=seed) for seed in (7, 8))
    found = fit_logistic(training, validation)(validation.inputs)
    for day in range(2):
        assert np.abs(found[:, day] - chance(validation.inputs, day)).mean() < 0.1


def test_a_logistic_regression_reads_the_groups_it_is_given_alone():
    def chance(inputs, day):
        return 3 * inputs["feedback"].numbers[:, 0]

    training, validation = (examples_of(rows=2_000, chance=chance, seed=seed) for seed in (9, 10))
    with_it, without = (fit_logistic(training, validation, groups=groups) for groups in (GROUPS, ("activity", "items")))
    assert (loss_of(with_it, validation) < 0.5).all()
    assert (loss_of(without, validation) > 0.68).all()
    other = validation.inputs | {"feedback": training.inputs["feedback"]}
    np.testing.assert_array_equal(without(other), without(validation.inputs))


def test_the_strength_is_the_one_that_validation_prefers():
    strengths = (1_000.0, 100.0, 10.0, 1.0, 0.1)
    chosen = []
    for slope in (0.0, 2.0):
        training, validation = (
            examples_of(rows=150, chance=lambda inputs, _, s=slope: s * inputs["items"].numbers[:, 0], seed=seed)
            for seed in (11, 12)
        )
        losses = []
        for strength in strengths:
            forecast = fit_logistic(training, validation, strengths=[strength])
            losses.append((loss_of(forecast, validation) * validation.observed.sum(0)).sum())
        best = int(np.argmin(losses))
        chosen.append(best)
        expected = fit_logistic(training, validation, strengths=[strengths[best]])(validation.inputs)
        for order in (1, -1):
            found = fit_logistic(training, validation, strengths=strengths[::order])(validation.inputs)
            np.testing.assert_allclose(found, expected, atol=2e-3)
    assert chosen[0] < chosen[1]


@pytest.mark.parametrize("strengths", [(), (1.0, 0.0)])
def test_strengths_must_be_above_0(strengths):
    with pytest.raises(ValueError, match="expected at least one strength, each above 0, got"):
        fit_logistic(examples_of(), examples_of(), strengths=strengths)


def test_a_category_beyond_the_most_frequent_has_no_column():
    training = examples_of(rows=2_000, chance=lambda inputs, _: inputs["items"].codes[:, 0] - 1.5)
    codes = np.repeat([0, 1, 2, 3], [900, 800, 200, 100])[:, None]
    training.inputs["items"] = Columns(np.zeros((2_000, 0), np.float32), codes)
    probe = {"items": Columns(np.zeros((5, 0), np.float32), np.array([[0], [1], [2], [3], [9]]))}
    logits = fit_logistic(training, training, groups=("items",), strengths=[1.0], max_categories=2)(probe)
    assert len(np.unique(logits[:2, 0])) == 2
    np.testing.assert_array_equal(logits[2:], np.tile(logits[2], (3, 1)))


def test_a_column_that_never_varied_in_training_is_not_read():
    training = examples_of()
    training.inputs["activity"].numbers[:, 0] = 2.0
    forecast = fit_logistic(training, training)
    before = forecast(training.inputs)
    training.inputs["activity"].numbers[:, 0] = 1e6
    np.testing.assert_array_equal(forecast(training.inputs), before)


def test_boosted_trees_find_what_no_sum_of_columns_can_say_and_on_which_day():
    def chance(inputs, day):
        return 3 * day * np.sign(np.abs(inputs["activity"].numbers[:, 0]) - 0.67)

    training, validation = (examples_of(rows=3_000, chance=chance, seed=seed) for seed in (13, 14))
    first, second = loss_of(fit_trees(training, validation), validation)
    assert first > 0.68
    assert second < 0.3
    assert (loss_of(fit_logistic(training, validation), validation) > 0.68).all()


def test_boosted_trees_group_categories_whatever_the_order_of_their_codes():
    training, validation = examples_of(rows=4_000, seed=15, share=1.0), examples_of(rows=4_000, seed=16, share=1.0)
    rng = np.random.default_rng(0)
    for examples in (training, validation):
        codes = rng.integers(0, 40, (4_000, 1))
        examples.inputs["items"] = Columns(examples.inputs["items"].numbers, codes)
        examples.trace[:] = rng.random((4_000, 2)) < np.where(codes % 2, 0.9, 0.1)
    one_split = TREES["parameters"] | {"num_leaves": 2, "learning_rate": 0.5, "max_cat_threshold": 32}
    forecast = fit_trees(training, validation, parameters=one_split, max_trees=10)
    assert (loss_of(forecast, validation) < 0.4).all()


def test_boosted_trees_stop_when_validation_gets_no_better():
    training, validation = examples_of(rows=1_000, seed=17), examples_of(rows=1_000, seed=18)
    patient = fit_trees(training, validation, patience=10)(training.inputs)
    to_the_end = fit_trees(training, validation, patience=1_000, max_trees=60)(training.inputs)
    assert patient.std() < 0.1
    # however long it goes on, it falls back to the best number of trees
    np.testing.assert_allclose(to_the_end, patient)


def test_boosted_trees_draw_by_their_seed():
    def chance(inputs, day):
        return inputs["activity"].numbers[:, 0]

    training, validation = (examples_of(rows=1_000, chance=chance, seed=seed) for seed in (19, 20))
    zero, one = (fit_trees(training, validation, seed=seed)(validation.inputs) for seed in (0, 1))
    assert (zero != one).any()


def test_boosted_trees_say_how_to_install_lightgbm(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ImportError, match=r"pip install 'reward\[boosting\]'"):
        boosted_trees(examples_of(), examples_of(), seed=0, **TREES)


def test_a_calibrated_forecast_has_the_rates_that_validation_revealed():
    training = examples_of(rows=2_000, chance=lambda inputs, day: 1.0)
    validation = examples_of(rows=2_000, chance=lambda inputs, day: -0.5 * day, seed=1)
    found = calibrated(base_rate(training), validation, prior_events=0)(training.inputs)
    observed = validation.observed.sum(axis=0)
    np.testing.assert_allclose(found[0], (validation.trace & validation.observed).sum(axis=0) / observed, atol=1e-4)
    untouched = calibrated(base_rate(training), validation, prior_events=1e9)(training.inputs)
    np.testing.assert_allclose(untouched, 1 / (1 + np.exp(-base_rate(training)(training.inputs))), atol=1e-4)


@pytest.fixture
def forecasts(windows_of_time, outcome, features):
    def build(log, **changes):
        settings = {"logistic": LOGISTIC, "boosting": None, "prior_events": 20, "seed": 0}
        return baselines(log, windows_of_time, outcome, features, **(settings | changes))

    return build


def test_every_baseline_forecasts_every_event(forecasts, log, outcome):
    pytest.importorskip("lightgbm")
    found = forecasts(log, boosting=TREES)
    assert list(found) == [
        "base rate",
        "feedback only",
        "activity only",
        "activity + feedback",
        "activity + feedback + items",
        "LightGBM",
    ]
    rows = log.events.select(pl.len()).collect().item()
    for name, chance in found.items():
        assert chance.shape == (rows, outcome.horizon_days), name
        assert ((chance > 0) & (chance < 1)).all(), name
    assert (np.ptp(found["base rate"], axis=0) == 0).all()
    assert all((np.ptp(chance, axis=0) > 0).all() for name, chance in found.items() if name != "base rate")


def test_forecasts_follow_the_order_of_the_events_and_the_rows_asked_for(forecasts, log):
    found = forecasts(log)
    order = np.random.default_rng(0).permutation(log.events.select(pl.len()).collect().item())
    shuffled = replace(log, events=log.events.collect()[order].lazy())
    some = np.arange(len(order)) % 3 == 0
    for name, chance in forecasts(shuffled, rows=some).items():
        np.testing.assert_allclose(chance, found[name][order][some], atol=1e-6)


def test_what_comes_after_validation_changes_no_forecast_of_what_was_before(forecasts, log, windows_of_time):
    end = windows_of_time.validation_end
    early = log.events.select(pl.col(TIMESTAMP) < midnight(end, log.timezone)).collect()[TIMESTAMP].to_numpy()
    assert not early.all()
    alone = forecasts(known_at(log, end))
    for name, chance in forecasts(log).items():
        np.testing.assert_allclose(alone[name], chance[early], atol=1e-9)


@pytest.mark.parametrize(
    ("name", "value", "readers"),
    [
        ("click", 1 - pl.col("click"), {"feedback only", "activity + feedback", "activity + feedback + items"}),
        ("item_id", (pl.col("item_id") + 7) % 30, {"activity + feedback + items"}),
    ],
    ids=["click", "item"],
)
def test_a_baseline_reads_what_its_name_says(forecasts, log, windows_of_time, name, value, readers):
    late = pl.col(TIMESTAMP) >= midnight(windows_of_time.validation_end, log.timezone)
    changed = replace(log, events=log.events.with_columns(pl.when(late).then(value).otherwise(name).alias(name)))
    found, other = forecasts(log), forecasts(changed)
    assert {each for each in found if not np.allclose(found[each], other[each])} == readers


def test_the_calibration_is_to_the_bits_that_validation_revealed(forecasts, log, windows_of_time, outcome):
    split = windows_of_time
    labels = outcome.label(log, split.end).collect()
    day, trace = (labels[name].to_numpy() for name in (DAY, TRACE))
    found = forecasts(log, prior_events=0)["base rate"][0]
    for ahead in range(1, outcome.horizon_days + 1):
        target = day + ahead
        revealed = (day < split.validation_end) & (target >= split.train_end) & (target < split.validation_end)
        came = (trace[revealed] >> (ahead - 1)) & 1
        assert found[ahead - 1] == pytest.approx(came.mean(), abs=1e-3)


def test_past_activity_tells_more_than_the_base_rate(forecasts, log, windows_of_time, outcome):
    labels = outcome.label(log, windows_of_time.end).collect()
    day, trace, observed = (labels[name].to_numpy() for name in (DAY, TRACE, OBSERVED))
    day_after = (day >= windows_of_time.validation_end) & (observed & 1 == 1)
    found = forecasts(log, rows=day_after)
    came = (trace & 1 == 1)[day_after]
    losses = {name: log_loss(chance[:, 0], came, np.ones_like(came)).item() for name, chance in found.items()}
    assert losses["activity only"] < losses["base rate"] - 0.05


def test_without_lightgbm_a_warning_says_what_is_missing(forecasts, log, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.warns(UserWarning, match=r"no LightGBM baseline: pip install 'reward\[boosting\]', or set boosting"):
        found = forecasts(log, boosting=TREES)
    assert "LightGBM" not in found
    assert len(found) == 5
