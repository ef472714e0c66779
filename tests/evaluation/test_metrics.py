from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from sklearn import metrics as sklearn

from reward.evaluation.measure import compare, evaluate, evaluate_against
from reward.evaluation.metrics import active_days, auc, brier, calibration_error, log_loss, over_horizon
from reward.evaluation.survival_metrics import c_index, expected_return_day, return_time
from reward.statistics.bootstrap import Resamples, Users, percentiles

BY_DAY: dict[str, Callable] = {
    "log_loss": log_loss,
    "brier": brier,
    "auc": auc,
    "calibration_error": partial(calibration_error, bins=4),
}
every_metric = pytest.mark.parametrize("metric", BY_DAY.values(), ids=BY_DAY.keys())
SETTING = {"resamples": 30, "seed": 0, "level": 0.9, "bins": 4}


def rows(seed=0, n=60, horizon=3, users=20):
    """Predictions with ties, outcomes drawn from them, and a right-censored mask."""
    generator = np.random.default_rng(seed)
    probabilities = generator.integers(1, 10, size=(n, horizon)) / 10
    trace = generator.random((n, horizon)) < probabilities
    observed = np.arange(horizon) < generator.integers(0, horizon + 1, size=n)[:, None]
    return probabilities, trace, observed, generator.integers(users, size=n)


def unmasked(*columns):
    columns = [np.array(column) for column in columns]
    return *columns, np.ones_like(columns[-1], dtype=bool)


class TestByDay:
    def test_values_by_hand(self):
        given = unmasked([0.8, 0.4, 0.6, 0.2], [True, True, False, False])
        assert log_loss(*given) == pytest.approx(-np.log(0.8 * 0.4 * 0.4 * 0.8) / 4)
        assert brier(*given) == pytest.approx((0.04 + 0.36 + 0.36 + 0.04) / 4)
        assert auc(*given) == pytest.approx(3 / 4)
        # lower half: .6 predicted, 1 came; upper half: 1.4 predicted, 1 came
        assert calibration_error(*given, bins=2) == pytest.approx((0.4 + 0.4) / 4)
        assert calibration_error(*given, bins=1) == pytest.approx(0.0, abs=1e-12)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_scikit_learn_agrees(self, weighted):
        p, y, seen, _ = rows(1, n=300)
        weights = np.random.default_rng(2).exponential(size=300) if weighted else None
        for day in range(3):
            known = seen[:, day]
            truth, predicted = y[known, day], p[known, day]
            share = {"sample_weight": weights[known] if weighted else None}
            whole = (p[:, day], y[:, day], known)
            assert log_loss(*whole, weights=weights) == pytest.approx(sklearn.log_loss(truth, predicted, **share))
            assert brier(*whole, weights=weights) == pytest.approx(sklearn.brier_score_loss(truth, predicted, **share))
            assert auc(*whole, weights=weights) == pytest.approx(sklearn.roc_auc_score(truth, predicted, **share))

    def test_calibration_error_without_ties_is_a_mean_over_equal_parts_of_the_sorted_rows(self):
        generator = np.random.default_rng(3)
        p = generator.random(40)
        y = generator.random(40) < 0.5
        order = np.argsort(p)
        gaps = [abs(p[part].mean() - y[part].mean()) for part in np.split(order, 5)]
        assert calibration_error(p, y, np.ones(40, bool), bins=5) == pytest.approx(np.mean(gaps))

    def test_equal_predictions_share_a_bin_whatever_the_order_of_the_rows(self):
        p, y, seen = unmasked([0.5] * 4, [True, True, False, False])
        assert calibration_error(p, y, seen, bins=2) == 0
        # the three ties hold the quantile 3/8, of the lower half; 0.9 has the upper to itself
        p = np.array([0.5, 0.9, 0.5, 0.5])
        assert calibration_error(p, y, seen, bins=2) == pytest.approx((0.5 + 0.1) / 4)
        assert calibration_error(p[::-1], y[::-1], seen, bins=2) == pytest.approx((0.5 + 0.1) / 4)
        # here they hold the quantile 5/8, of the upper half, though one of them reaches into the lower
        p = np.array([0.5, 0.9, 0.9, 0.9])
        assert calibration_error(p, y, seen, bins=2) == pytest.approx((0.5 + 1.7) / 4)

    @every_metric
    def test_a_matrix_is_measured_column_by_column(self, metric):
        p, y, seen, _ = rows()
        by_day = [metric(p[:, day], y[:, day], seen[:, day]) for day in range(3)]
        assert np.shape(by_day[0]) == ()
        np.testing.assert_allclose(metric(p, y, seen), by_day)

    @every_metric
    @pytest.mark.parametrize("garbage", [np.nan, -7.0, np.inf])
    def test_what_stands_on_unobserved_days_is_never_read(self, metric, garbage):
        p, y, seen, _ = rows()
        np.testing.assert_array_equal(
            metric(np.where(seen, p, garbage), np.where(seen, y, ~y), seen), metric(p, y, seen)
        )

    @every_metric
    def test_an_integer_weight_is_that_many_copies_of_the_row(self, metric):
        p, y, seen, _ = rows()
        copies = np.random.default_rng(4).integers(0, 4, size=len(p))
        repeated = (np.repeat(array, copies, axis=0) for array in (p, y, seen))
        np.testing.assert_allclose(metric(p, y, seen, weights=copies), metric(*repeated))

    @every_metric
    def test_a_row_of_weight_zero_may_be_infinitely_wrong(self, metric):
        p, y, seen = unmasked([0.3, 0.6, 0.0], [False, True, True])
        np.testing.assert_allclose(metric(p, y, seen, weights=[1, 1, 0]), metric(p[:2], y[:2], seen[:2]), atol=1e-12)

    @every_metric
    def test_a_day_on_which_nothing_is_observed_is_nan_and_the_others_are_not(self, metric):
        p, y, seen, _ = rows()
        seen = seen & (np.arange(3) != 1)
        np.testing.assert_array_equal(np.isnan(metric(p, y, seen)), [False, True, False])

    def test_auc_is_nan_where_all_rows_are_of_one_class(self):
        y = np.array([[True, False, True], [True, False, False]])
        area = auc(np.full((2, 3), 0.5), y, np.ones((2, 3), bool))
        np.testing.assert_array_equal(area, [np.nan, np.nan, 0.5])

    def test_perfect_predictions_have_no_loss(self):
        y, seen = unmasked([True, False, True])
        assert [metric(y.astype(float), y, seen) for metric in BY_DAY.values()] == [0, 0, 1, 0]

    def test_a_constant_prediction_ranks_nothing_and_is_as_calibrated_as_its_mean(self):
        p, y, seen = unmasked([0.5] * 4, [True, False, False, False])
        values = [metric(p, y, seen) for metric in BY_DAY.values()]
        np.testing.assert_allclose(values, [np.log(2), 0.25, 0.5, 0.25])

    def test_certainty_that_is_wrong_costs_infinitely_much(self):
        assert log_loss(*unmasked([0.0, 0.5], [True, False])) == np.inf
        assert log_loss(*unmasked([1.0, 0.5], [False, False])) == np.inf


class TestOverHorizon:
    @pytest.mark.parametrize("metric", [log_loss, brier])
    def test_a_mean_over_bits_is_the_metric_of_all_bits_as_one_day(self, metric):
        p, y, seen, _ = rows()
        weights = np.random.default_rng(5).random(len(p))
        pooled = metric(p[seen], y[seen], seen[seen], weights=np.repeat(weights, seen.sum(axis=1)))
        by_day = metric(p, y, seen, weights=weights)
        assert over_horizon(by_day, seen, weights=weights) == pytest.approx(float(pooled))

    def test_the_auc_of_days_earns_nothing_by_knowing_the_day(self):
        p = np.tile([0.9, 0.1], (4, 1))
        y = np.array([[True, False], [True, False], [True, True], [False, False]])
        seen = np.ones_like(y)
        assert auc(p.ravel(), y.ravel(), seen.ravel()) == pytest.approx(0.75)
        assert over_horizon(auc(p, y, seen), seen) == 0.5

    def test_an_undefined_day_takes_no_part_and_only_undefined_days_leave_nothing(self):
        seen = np.array([[True, True], [True, False]])
        assert over_horizon(np.array([0.3, np.nan]), seen) == 0.3
        assert np.isnan(over_horizon(np.array([np.nan, np.nan]), seen))

    def test_nothing_observed_is_an_error(self):
        with pytest.raises(ValueError, match="at least one observed bit, got none"):
            over_horizon(np.array([np.nan]), np.zeros((3, 1), bool))

    def test_values_and_mask_of_different_horizons_are_an_error(self):
        with pytest.raises(ValueError, match=r"got \(2,\) and \(3, 1\): pass what a metric returned"):
            over_horizon(np.zeros(2), np.ones((3, 1), bool))


class TestActiveDays:
    def test_days_are_counted_where_observed_by_rows_with_an_observed_day(self):
        p = np.array([[0.5, 0.5], [0.25, np.nan], [np.nan, np.nan]])
        y = np.array([[True, True], [True, False], [True, True]])
        seen = np.array([[True, True], [True, False], [False, False]])
        assert active_days(p, y, seen) == (1.25 / 2, 3 / 2, 1.25 / 3)
        assert active_days(p, y, seen, weights=[1, 3, 5]) == (1.75 / 4, 5 / 4, 1.75 / 5)

    def test_the_ratio_is_nan_where_nobody_was_active(self):
        predicted, observed, ratio = active_days(np.full((2, 1), 0.5), *unmasked([[False], [False]]))
        assert (predicted, observed) == (0.5, 0)
        assert np.isnan(ratio)

    def test_nothing_observed_is_an_error(self):
        with pytest.raises(ValueError, match="at least one observed bit, got none"):
            active_days(np.ones((2, 1)), np.ones((2, 1), bool), np.zeros((2, 1), bool))


class TestReturnTime:
    @pytest.mark.parametrize(
        ("trace", "observed", "time", "event"),
        [
            ("001", "111", 3, True),
            ("110", "111", 1, True),
            ("000", "111", 3, False),
            ("000", "110", 2, False),
            ("001", "110", 2, False),  # active where nobody looked
            ("001", "101", 1, False),  # it may have been day 2
            ("111", "011", 0, False),
            ("000", "000", 0, False),
        ],
    )
    def test_it_is_the_first_active_day_after_observed_ones(self, trace, observed, time, event):
        bits = [np.array([[bit == "1" for bit in word]]) for word in (trace, observed)]
        assert [array.tolist() for array in return_time(*bits)] == [[time], [event]]

    def test_its_expectation_is_the_restricted_mean_of_independent_days(self):
        p = np.random.default_rng(6).random((1, 4))
        days = np.random.default_rng(7).random((200_000, 4)) < p
        time, _ = return_time(days, np.ones_like(days))
        assert expected_return_day(p)[0] == pytest.approx(time.mean(), abs=0.01)

    def test_certain_predictions_return_on_their_day(self):
        np.testing.assert_array_equal(expected_return_day([[1, 0, 0], [0, 1, 0], [0, 0, 0]]), [1, 2, 3])

    def test_a_day_vector_has_no_return_time(self):
        with pytest.raises(ValueError, match=r"expected probabilities \(n, H\), got shape \(2,\)"):
            expected_return_day([0.1, 0.2])
        with pytest.raises(ValueError, match=r"bool of one shape \(n, H\), got trace bool \(2,\)"):
            return_time(np.ones(2, bool), np.ones(2, bool))


class TestCIndex:
    @staticmethod
    def plain(score, time, event, weights):
        won = pairs = 0.0
        for i in range(len(time)):
            for j in range(len(time)):
                if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                    s, r = (score[i], score[j]) if score.ndim == 1 else score[[i, j], time[i] - 1]
                    pairs += weights[i] * weights[j]
                    won += weights[i] * weights[j] * ((s > r) + (s == r) / 2)
        return won / pairs

    @pytest.mark.parametrize("shape", [(120,), (120, 4)])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_a_loop_over_all_pairs_agrees(self, shape, weighted):
        _, trace, observed, _ = rows(8, n=120, horizon=4)
        generator = np.random.default_rng(9)
        time, event = return_time(trace & (generator.random(trace.shape) < 0.4), observed)
        score = generator.integers(6, size=shape).astype(float)
        weights = generator.exponential(size=120) if weighted else np.ones(120)
        assert set(time[event]) == {1, 2, 3, 4}
        assert set(time[~event]) == {0, 1, 2, 3, 4}
        expected = self.plain(score, time, event, weights)
        assert c_index(score, time, event, weights=weights) == pytest.approx(expected)

    def test_by_hand(self):
        time, event = np.array([1, 2, 2, 1, 0]), np.array([True, True, False, False, False])
        # comparable: row 0 with rows 1, 2 and 3, and row 1 with row 2
        assert c_index([4, 3, 2, 1, 9], time, event) == 1
        assert c_index([4, 2, 3, 4, 9], time, event) == (1 + 1 + 0.5 + 0) / 4

    def test_an_integer_weight_is_that_many_copies_of_the_row(self):
        p, trace, observed, _ = rows(10)
        time, event = return_time(trace, observed)
        copies = np.random.default_rng(11).integers(0, 4, size=len(p))
        repeated = (np.repeat(array, copies, axis=0) for array in (p, time, event))
        assert c_index(p, time, event, weights=copies) == pytest.approx(c_index(*repeated))

    def test_a_constant_score_is_worth_a_coin_and_a_perfect_one_always_right(self):
        _, trace, observed, _ = rows(12)
        time, event = return_time(trace, observed)
        assert c_index(np.zeros(60), time, event) == 0.5
        assert c_index(-(time + ~event), time, event) == 1

    def test_without_a_comparable_pair_it_is_nan(self):
        assert np.isnan(c_index([1, 2], np.array([2, 2]), np.array([True, True])))
        assert np.isnan(c_index([1, 2], np.array([0, 0]), np.array([False, False])))

    def test_a_score_is_needed_only_where_it_is_compared(self):
        time, event = np.array([1, 2]), np.array([True, False])
        assert c_index([[2, np.nan], [1, 5]], time, event) == 1
        with pytest.raises(ValueError, match="score must be finite wherever time is at least the day"):
            c_index([[2, 1], [1, np.nan]], time, event)
        with pytest.raises(ValueError, match="score must be finite"):
            c_index([np.inf, 1], time, event)

    def test_scores_of_too_few_days_are_an_error(self):
        with pytest.raises(ValueError, match="a score for each of the 2 days, got 1 columns"):
            c_index([[1], [2]], np.array([1, 2]), np.array([True, False]))

    @pytest.mark.parametrize(
        ("score", "time", "event"),
        [
            ([1, 2, 3], [1, 2], [True, False]),
            ([1, 2], [1.0, 2.0], [True, False]),
            ([1, 2], [1, 2], [1, 0]),
        ],
    )
    def test_arrays_that_do_not_fit_are_an_error(self, score, time, event):
        with pytest.raises(ValueError, match="take time and event from return_time"):
            c_index(score, np.array(time), np.array(event))

    def test_a_return_before_the_first_day_is_an_error(self):
        with pytest.raises(ValueError, match="expected return days from 1 and censoring days from 0"):
            c_index([1, 2], np.array([0, 2]), np.array([True, False]))


class TestChecks:
    def test_probabilities_must_be_probabilities_where_observed(self):
        y, seen = unmasked([True, False])
        with pytest.raises(ValueError, match=r"got 1 others, the first 1.5: pass probabilities, not logits"):
            brier([0.5, 1.5], y, seen)
        with pytest.raises(ValueError, match="the first nan"):
            brier([np.nan, 0.5], y, seen)

    def test_shapes_must_agree(self):
        y, seen = unmasked([[True, False]])
        with pytest.raises(ValueError, match=r"of the shape of trace, \(1, 2\), got \(2, 1\)"):
            brier([[0.5], [0.5]], y, seen)
        with pytest.raises(ValueError, match=r"of one shape \(n, H\), got observed bool \(1, 1\)"):
            brier([[0.5, 0.5]], y, seen[:, :1])

    def test_outcome_and_mask_must_be_bool(self):
        y, seen = unmasked([True, False])
        with pytest.raises(ValueError, match=r"bool of one shape \(n, H\), got trace int64"):
            brier([0.5, 0.5], y.astype(int), seen)
        with pytest.raises(ValueError, match=r"bool of one shape \(n, H\), got observed float64"):
            brier([0.5, 0.5], y, seen.astype(float))

    @pytest.mark.parametrize("weights", [[1, -1], [1, np.nan], [1, np.inf], [1]])
    def test_weights_must_be_finite_and_not_negative(self, weights):
        with pytest.raises(ValueError, match="finite weight of at least 0 for each of the 2 rows"):
            brier([0.5, 0.5], *unmasked([True, False]), weights=weights)

    def test_there_is_at_least_one_bin(self):
        with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
            calibration_error([0.5], *unmasked([True]), bins=0)


class TestEvaluate:
    def test_the_values_are_those_of_the_metrics(self):
        p, y, seen, user = rows()
        returned = 1 - np.cumprod(1 - p, axis=1)
        expected = {("c_index", None): c_index(returned, *return_time(y, seen))}
        for name, metric in BY_DAY.items():
            by_day = metric(p, y, seen)
            expected |= {(name, None): over_horizon(by_day, seen)}
            expected |= {(name, day + 1): value for day, value in enumerate(by_day)}
        expected |= {(f"active_days_{name}", None): value for name, value in active_days(p, y, seen)._asdict().items()}
        measured = {(row.metric, row.day): row.value for row in evaluate(p, y, seen, user=user, **SETTING)}
        assert measured == pytest.approx(expected)

    def test_the_ends_are_those_of_the_metrics_with_reweighted_rows(self):
        p, y, seen, user = rows()
        users = Users.of(user)
        returned, returns = 1 - np.cumprod(1 - p, axis=1), return_time(y, seen)

        def plain(weights):
            by_day = [metric(p, y, seen, weights=weights) for metric in BY_DAY.values()]
            return np.concatenate(
                [[over_horizon(values, seen, weights=weights), *values] for values in by_day]
                + [[c_index(returned, *returns, weights=weights)], active_days(p, y, seen, weights=weights)]
            )

        [(_, counts)] = Resamples(30, seed=0).weights(users.hashes)
        low, high = percentiles(np.stack([plain(drawn[users.code]) for drawn in counts]), 0.9)
        measured = evaluate(p, y, seen, user=user, **SETTING)
        reversed_rows = np.array([row.metric == "calibration_error" for row in measured])
        value = np.array([row.value for row in measured])
        np.testing.assert_allclose([row.low for row in measured], np.where(reversed_rows, 2 * value - high, low))
        np.testing.assert_allclose([row.high for row in measured], np.where(reversed_rows, 2 * value - low, high))

    def test_rows_and_users_are_counted_where_something_is_observed(self):
        p, y, seen, user = rows()
        measured = {(row.metric, row.day): row for row in evaluate(p, y, seen, user=user, **SETTING)}
        for label, known in {
            ("auc", None): seen.any(axis=1),
            ("auc", 3): seen[:, 2],
            ("c_index", None): seen[:, 0],
        }.items():
            assert measured[label].rows == known.sum() < len(p)
            assert measured[label].users == len(set(user[known]))

    def test_what_stands_on_unobserved_days_is_never_read(self):
        p, y, seen, user = rows()
        garbled = evaluate(np.where(seen, p, np.nan), np.where(seen, y, ~y), seen, user=user, **SETTING)
        assert garbled == evaluate(p, y, seen, user=user, **SETTING)

    def test_an_interval_is_by_the_users_ids_and_the_seed_and_by_nothing_else(self):
        p, y, seen, user = rows()
        names = np.array([f"user {code:02}" for code in range(20)])
        table = evaluate(p, y, seen, user=user, **SETTING)
        order = np.random.default_rng(18).permutation(len(user))
        again = evaluate(p[order], y[order], seen[order], user=user[order].astype(np.int32), **SETTING)
        ends = [[(row.value, row.low, row.high) for row in each] for each in (table, again)]
        np.testing.assert_allclose(*ends, rtol=1e-10)
        named = evaluate(p, y, seen, user=names[user], **SETTING)
        assert [row.value for row in named] == pytest.approx([row.value for row in table], rel=1e-12)
        assert [row.low for row in named] != [row.low for row in table]
        assert evaluate(p, y, seen, user=user, **(SETTING | {"seed": 1})) != table

    def test_users_are_numbers_or_texts(self):
        p, y, seen, user = rows()
        with pytest.raises(ValueError, match="whole numbers or texts, got Float64"):
            evaluate(p, y, seen, user=user / 2, **SETTING)

    def test_a_day_nobody_observed_is_nan_and_the_horizon_is_not(self):
        p, y, seen, user = rows()
        seen = seen & (np.arange(3) < 2)
        measured = {(row.metric, row.day): row for row in evaluate(p, y, seen, user=user, **SETTING)}
        for metric in BY_DAY:
            last, whole = measured[metric, 3], measured[metric, None]
            assert np.isnan([last.value, last.low, last.high]).all()
            assert (last.rows, last.users) == (0, 0)
            assert np.isfinite([whole.value, whole.low, whole.high]).all()

    def test_the_interval_of_a_nearly_calibrated_model_reaches_below_its_calibration_error(self):
        generator = np.random.default_rng(13)
        p = generator.random((2000, 1))
        y = generator.random((2000, 1)) < p
        setting = {"resamples": 100, "seed": 0, "level": 0.9, "bins": 10}
        table = evaluate(p, y, np.ones_like(y), user=np.arange(2000), **setting)
        error = next(row for row in table if row.metric == "calibration_error")
        assert error.low < 0.8 * error.value
        assert error.high < 1.3 * error.value

    def test_nothing_observed_is_an_error(self):
        p, y, seen, user = rows()
        with pytest.raises(ValueError, match=r"at least one observed bit, got none: evaluate rows that have"):
            evaluate(p, y, np.zeros_like(seen), user=user, **SETTING)

    def test_one_user_is_an_error(self):
        p, y, seen, user = rows()
        with pytest.raises(ValueError, match="at least 2 of them, got 1"):
            evaluate(p, y, seen, user=np.zeros_like(user), **SETTING)

    def test_every_row_has_a_user(self):
        p, y, seen, user = rows()
        with pytest.raises(ValueError, match=r"a user for each of the 60 rows, got shape \(59,\)"):
            evaluate(p, y, seen, user=user[1:], **SETTING)


class TestCompare:
    def test_it_is_the_difference_of_the_evaluations(self):
        p, y, seen, user = rows()
        other = np.random.default_rng(14).random(p.shape)
        first, second = (evaluate(values, y, seen, user=user, **SETTING) for values in (p, other))
        expected = {
            (a.metric, a.day): a.value - b.value
            for a, b in zip(first, second, strict=True)
            if a.metric != "active_days_observed"
        }
        measured = {(row.metric, row.day): row.value for row in compare(p, other, y, seen, user=user, **SETTING)}
        assert measured == pytest.approx(expected)

    def test_a_prediction_differs_from_itself_by_exactly_nothing(self):
        p, y, seen, user = rows()
        for row in compare(p, p, y, seen, user=user, **SETTING):
            assert (row.value, row.low, row.high) == (0, 0, 0)

    def test_the_interval_of_a_difference_is_narrower_than_the_metrics_own(self):
        generator = np.random.default_rng(15)
        p, y, seen, user = rows(16, n=600, users=100)
        near = np.clip(p + 0.02 * generator.normal(size=p.shape), 0.01, 0.99)
        alone = evaluate(p, y, seen, user=user, **SETTING)[0]
        paired = compare(p, near, y, seen, user=user, **SETTING)[0]
        assert alone.metric == paired.metric == "log_loss"
        assert paired.high - paired.low < 0.3 * (alone.high - alone.low)

    def test_the_better_prediction_has_the_lower_loss_by_a_sure_margin(self):
        p, y, seen, user = rows(17, n=600, users=100)
        loss = compare(p, np.full_like(p, 0.5), y, seen, user=user, **SETTING)[0]
        assert loss.high < 0

    def test_two_infinite_losses_have_no_difference(self):
        p, y, seen, user = rows()
        certain = np.where(y, 0.0, p)
        loss = compare(certain, certain, y, seen, user=user, **SETTING)[0]
        assert (loss.metric, loss.day) == ("log_loss", None)
        assert np.isnan([loss.value, loss.low, loss.high]).all()

    def test_both_predictions_are_of_the_same_rows(self):
        p, y, seen, user = rows()
        with pytest.raises(ValueError, match=r"of the shape of trace, \(60, 3\), got \(59, 3\)"):
            compare(p, p[1:], y, seen, user=user, **SETTING)


def test_where_one_day_at_most_can_be_set_the_chances_of_days_add_up_to_that_of_having_come_by_then():
    probabilities = np.array([[0.6, 0.3, 0.0], [0.0, 0.0, 0.8], [0.5, 0.2, 0.05]])
    trace = np.array([[False, False, True], [False, False, False], [False, True, False]])
    observed = np.ones((3, 3), bool)
    asked = {"user": np.arange(3), "resamples": 2, "seed": 0, "level": 0.9, "bins": 2}
    found = {
        once: evaluate_against({"": probabilities}, "", trace, observed, **asked, once=once)[0][""]
        for once in (False, True)
    }
    index = {once: next(it.value for it in table if it.metric == "c_index") for once, table in found.items()}
    # by day 2: .90, .00, .70, and by day 3: .90, .80, .75; else .72, 0, .60 and .72, .80, .62
    assert index[True] == pytest.approx(2 / 3)
    assert index[False] == pytest.approx(1 / 3)
