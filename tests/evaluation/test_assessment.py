import doctest
import json
from functools import cache
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from reward.evaluation import estimates
from reward.evaluation.estimates import Estimate, of_log
from reward.evaluation.measure import compare, evaluate
from reward.evaluation.metrics import log_loss, over_horizon
from reward.evaluation.results import assess, overview
from reward.report import text as wording
from reward.report.saved import from_json, to_json

SETTING = {
    "model": "reward model",
    "unit": "days",
    "click": "click",
    "resamples": 40,
    "seed": 0,
    "level": 0.95,
    "bins": 5,
    "min_slice_users": 8,
    "min_item_rows": 10,
}
KNOWN = (
    "base rate",
    "feedback only",
    "activity only",
    "activity + feedback",
    "activity + feedback + items",
    "LightGBM",
)


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def sample(*, n=3000, users=300, items=40, horizon=3, seed=0, feedback_effect=1.0, surprise_slope=0.0):
    """Rows of users who differ in activity; feedback, which moves the outcome; the exposure step is the reward."""
    generator = np.random.default_rng(seed)
    user, item = np.sort(generator.integers(users, size=n)), generator.integers(items, size=n)
    click_rate = np.linspace(0.1, 0.9, items)[item]
    click = generator.random(n) < click_rate
    activity = generator.normal(0, 1.2, users)[user][:, None] + np.zeros(horizon)
    logit = activity + feedback_effect * (click - 0.5)[:, None]
    trace = generator.random((n, horizon)) < sigmoid(logit)
    observed = np.arange(horizon) < generator.integers(0, horizon + 1, size=n)[:, None]
    predictions = {
        "reward model": sigmoid(logit),
        "base rate": np.full((n, horizon), 0.5),
        "feedback only": np.full((n, horizon), 0.5),
        "activity only": sigmoid(activity),
        "activity + feedback": sigmoid(logit),
        "activity + feedback + items": sigmoid(logit + generator.normal(0, 0.02, (n, 1))),
        "LightGBM": sigmoid(logit + generator.normal(0, 0.3, (n, 1))),
    }
    before = generator.normal(1.5, 0.3, n)
    exposed = before + generator.normal(0.02, 0.05, n)
    after = exposed + 0.1 * (click - click_rate) + surprise_slope * click_rate
    first = np.diff(user, prepend=-1) > 0
    rows = pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            of_log("click"): click,
            "value_before": before,
            "value_exposed": exposed,
            "value_after": after,
            "value_previous": np.where(first, np.nan, np.roll(after, 1)),
            "reward": exposed - before,
            "reward_std": np.full(n, 0.02),
            "slice: even users": user % 2 == 0,
            "slice: one user": user == user[0],
        }
    ).with_columns(pl.col("value_previous").fill_nan(None))
    return predictions, trace, observed, rows


def assessed(predictions, trace, observed, rows, **changes):
    """What is saved of it."""
    return to_json(assess(predictions, trace, observed, rows=rows, **{**SETTING, **changes}))


@cache
def example():
    given = sample()
    return *given, assessed(*given)


def numbers(tree):
    """Each leaf of a nested dict or list."""
    if isinstance(tree, dict | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from numbers(branch)
    else:
        yield tree


def figures(tree):
    """Each leaf of a nested dict or list, but for ends of intervals and the sentences that tell them."""
    if isinstance(tree, dict):
        tree = [branch for key, branch in tree.items() if key not in ("low", "high", "sentences")]
    return [leaf for branch in tree for leaf in figures(branch)] if isinstance(tree, list) else [tree]


def ordered(estimate):
    return estimate["low"] <= estimate["value"] <= estimate["high"]


class TestWhole:
    def test_it_is_json_and_comes_back_as_it_was(self):
        assessment = example()[-1]
        assert json.loads(json.dumps(assessment, allow_nan=False)) == assessment
        assert to_json(from_json(assessment)) == assessment

    def test_what_is_no_evaluation_is_refused_with_its_place(self):
        assessment = example()[-1]
        with pytest.raises(ValueError, match=r"metrics\.json expected a unit, got only model"):
            from_json({"model": "reward model"})
        slices = [{**assessment["slices"][0], "rows": "many"}]
        with pytest.raises(ValueError, match=r"metrics\.json\.slices\[0\]\.rows expected an integer, got 'many'"):
            from_json({**assessment, "slices": slices})

    def test_where_all_can_be_computed_only_the_small_slice_is_noted(self):
        assert example()[-1]["notes"] == ["slice one user: it has 1 users and needs 8 to be measured"]

    def test_the_same_seed_gives_the_same_assessment_and_the_order_of_predictions_no_other(self):
        predictions, *rest, assessment = example()
        backwards = dict(reversed(predictions.items()))
        assert assessed(backwards, *rest) == assessment

    def test_the_reward_model_stands_first_and_an_unknown_prediction_last(self):
        predictions, trace, observed, rows, _ = example()
        few = {"other": predictions["LightGBM"], "base rate": predictions["base rate"]}
        assessment = assessed(few | {"reward model": predictions["reward model"]}, trace, observed, rows, resamples=2)
        assert list(assessment["metrics"]) == ["reward model", "base rate", "other"]

    def test_rows_users_and_items_are_counted(self):
        _, trace, observed, rows, assessment = example()
        assert assessment["rows"] == len(trace)
        assert assessment["users"] == rows["user_id"].n_unique()
        assert assessment["items"] == rows["item_id"].n_unique()
        assert assessment["observed_days"] == observed.sum()

    def test_users_and_items_may_be_strings(self):
        *given, rows, assessment = example()
        items, users = (
            rows.with_columns(pl.format("{}", pl.col(name).cast(pl.String).str.zfill(4)).alias(name))
            for name in ("item_id", "user_id")
        )
        assert assessed(*given, items) == assessment
        # an interval is by the users' ids, and what is no interval is not
        for one, other in zip(figures(assessed(*given, users)), figures(assessment), strict=True):
            assert one == (pytest.approx(other, rel=1e-12) if isinstance(other, float) else other)


class TestMetrics:
    def test_metrics_and_differences_are_those_of_evaluate_and_compare(self):
        predictions, trace, observed, rows, assessment = example()
        user = np.unique(rows["user_id"].to_numpy(), return_inverse=True)[1]
        asked = {"user": user, "resamples": 40, "seed": 0, "level": 0.95, "bins": 5}
        first, second = predictions["reward model"], predictions["LightGBM"]
        for found, table in (
            (assessment["metrics"]["LightGBM"], evaluate(second, trace, observed, **asked)),
            (assessment["differences"]["LightGBM"], compare(first, second, trace, observed, **asked)),
        ):
            for it in table:
                place = found[it.metric] if it.day is None else found[it.metric]["by_day"][it.day - 1]
                assert (place["value"], place["low"], place["high"]) == pytest.approx(
                    (it.value, it.low, it.high), rel=1e-12
                )
                assert (place["rows"], place["users"]) == (it.rows, it.users)
        assert set(assessment["differences"]) == set(KNOWN)

    def test_the_overview_has_a_cell_for_each_prediction(self):
        assessment = example()[-1]
        columns = overview(from_json(assessment))
        assert {len(column) for column in columns.values()} == {len(assessment["metrics"])}
        own = dict(zip(assessment["metrics"], columns["gain over activity only"], strict=True))
        assert own["activity only"] is None
        assert own["reward model"].value == pytest.approx(
            -assessment["differences"]["activity only"]["log_loss"]["value"]
        )


class TestCarry:
    def test_gains_are_differences_of_log_loss_over_the_horizon_and_by_day(self):
        predictions, trace, observed, _, assessment = example()
        by_day = {name: log_loss(p, trace, observed) for name, p in predictions.items()}
        for reference, gains in assessment["carry"]["gains"].items():
            for name, gain in gains.items():
                whole = over_horizon(by_day[reference], observed) - over_horizon(by_day[name], observed)
                assert gain["value"] == pytest.approx(whole, abs=1e-12)
                assert [it["day"] for it in gain["by_day"]] == [1, 2, 3]
                np.testing.assert_allclose(
                    [it["value"] for it in gain["by_day"]], by_day[reference] - by_day[name], atol=1e-12
                )
                assert ordered(gain)

    def test_increments_climb_the_ladder_and_sum_to_the_models_gain(self):
        carry = example()[-1]["carry"]
        steps = carry["increments"]
        assert [steps[0]["from"], *(step["to"] for step in steps)] == [
            "base rate",
            "activity only",
            "activity + feedback",
            "activity + feedback + items",
            "reward model",
        ]
        assert all(lower["to"] == upper["from"] for lower, upper in pairwise(steps))
        total = sum(step["value"] for step in steps)
        assert total == pytest.approx(carry["gains"]["base rate"]["reward model"]["value"])

    def test_shares_are_of_the_gain_of_a_model_fixed_in_advance(self):
        predictions, *rest, assessment = example()
        share, gains = assessment["carry"]["share"], assessment["carry"]["gains"]["base rate"]
        assert share["of"] == "activity + feedback + items"
        assert share["by"]["activity + feedback + items"]["value"] == 1
        expected = gains["activity only"]["value"] / gains["activity + feedback + items"]["value"]
        assert share["by"]["activity only"]["value"] == pytest.approx(expected)
        without = {name: p for name, p in predictions.items() if name != "activity + feedback + items"}
        assert assessed(without, *rest, resamples=2)["carry"]["share"]["of"] == "reward model"

    def test_no_shares_of_a_gain_that_is_not_there(self):
        predictions, *rest, _ = example()
        useless = predictions | {"activity + feedback + items": predictions["base rate"]}
        assessment = assessed(useless, *rest, resamples=10)
        assert assessment["carry"]["share"]["by"] == {}
        assert any(
            note.startswith("shares of the gain of activity + feedback + items over base rate: ")
            for note in assessment["notes"]
        )

    @pytest.mark.parametrize(("named", "missing"), [("base rate", "activity only"), ("activity only", "base rate")])
    def test_what_has_no_reference_is_noted(self, named, missing):
        predictions, *rest, _ = example()
        assessment = assessed({name: predictions[name] for name in ("reward model", named)}, *rest, resamples=2)
        assert list(assessment["carry"]["gains"]) == [named]
        assert f"gains over {missing}: there is no prediction of this name" in assessment["notes"]


class TestSentences:
    @staticmethod
    def about(subject, feedback_prediction):
        predictions, *rest, _ = example()
        changed = predictions | {"activity + feedback": feedback_prediction(predictions)}
        [said] = [it for it in assessed(changed, *rest)["carry"]["sentences"] if it.startswith(subject)]
        return said

    def test_feedback_that_helps_is_said_to_improve(self):
        said = self.about("Feedback", lambda p: p["activity + feedback"])
        step = example()[-1]["carry"]["increments"][1]
        assert step["low"] > 0
        assert said.startswith("Feedback improves on the prediction from past activity (0.0")
        assert "nats a day, 95% interval 0.0" in said

    def test_feedback_whose_interval_covers_zero_is_said_to_add_nothing(self):
        generator = np.random.default_rng(0)

        def no_better(predictions):
            activity = predictions["activity only"]
            return np.clip(activity + generator.choice([-0.004, 0.004], activity.shape), 0, 1)

        assert self.about("Feedback", no_better).startswith("Feedback adds nothing that this log can show (")

    def test_feedback_that_harms_is_said_to_make_it_worse(self):
        said = self.about("Feedback", lambda p: 1 - p["activity only"])
        assert said.startswith("Feedback makes the prediction from past activity worse (−")

    @pytest.mark.parametrize(
        ("blend", "expected"),
        [
            (1.0, "Reward model and LightGBM predict alike as far as this log shows (0.000"),
            (0.0, "Reward model predicts better than LightGBM (0."),
        ],
    )
    def test_the_model_is_compared_with_each_rival(self, blend, expected):
        predictions, *rest, _ = example()
        rival = blend * predictions["reward model"] + (1 - blend) * predictions["activity only"]
        said = assessed(predictions | {"LightGBM": rival}, *rest)["carry"]["sentences"]
        assert next(it for it in said if "LightGBM" in it).startswith(expected)
        assert sum("predict" in it and it.startswith("Reward model") for it in said) == 3

    def test_a_model_that_is_worse_is_said_to_be(self):
        predictions, *rest, _ = example()
        worse = predictions | {"reward model": 1 - predictions["activity only"]}
        said = assessed(worse, *rest)["carry"]["sentences"]
        assert any(it.startswith("Reward model predicts worse than activity only (−") for it in said)

    def test_the_share_of_past_activity_is_told(self):
        said = example()[-1]["carry"]["sentences"][0]
        share = example()[-1]["carry"]["share"]["by"]["activity only"]
        assert said.startswith("Past activity improves on the base rate (")
        assert f"; this is {100 * share['value']:.1f}% (95% interval" in said

    def test_a_missing_rung_is_told_as_one_step(self):
        predictions, *rest, _ = example()
        names = ("reward model", "base rate", "activity only", "activity + feedback + items")
        said = assessed({name: predictions[name] for name in names}, *rest)["carry"]["sentences"]
        assert said[1].startswith("Feedback and item information improve on the prediction from past activity (")

    def test_against_no_known_rival_every_other_prediction_is_one(self):
        predictions, *rest, _ = example()
        two = {"reward model": predictions["reward model"], "other": predictions["base rate"]}
        assert assessed(two, *rest)["carry"]["sentences"][0].startswith("Reward model predicts better than other (")


class TestSlices:
    def test_a_slice_is_measured_on_its_own_rows(self):
        predictions, trace, observed, rows, assessment = example()
        everything, even, _ = assessment["slices"]
        inside = rows["slice: even users"].to_numpy()
        assert (everything["slice"], even["slice"]) == ("all rows", "even users")
        assert even["rows"] == (observed.any(axis=1) & inside).sum()
        losses = [
            over_horizon(log_loss(predictions[name][inside], trace[inside], observed[inside]), observed[inside])
            for name in ("reward model", "activity only")
        ]
        assert even["log_loss"]["value"] == pytest.approx(losses[0])
        assert even["gain"]["value"] == pytest.approx(losses[1] - losses[0])
        known = observed & inside[:, None]
        days = known.any(axis=1).sum()
        assert even["observed"]["value"] == pytest.approx((trace & known).sum() / days)
        assert even["predicted"]["value"] == pytest.approx((predictions["reward model"] * known).sum() / days)
        assert all(ordered(even[metric]) for metric in ("log_loss", "gain", "observed", "predicted"))
        assert everything["gain"] == pytest.approx(
            {
                end: assessment["carry"]["gains"]["activity only"]["reward model"][end]
                for end in ("value", "low", "high")
            }
        )

    def test_a_small_slice_is_named_and_not_measured(self):
        small = example()[-1]["slices"][-1]
        assert (small["slice"], small["users"], small["measured"]) == ("one user", 1, False)
        assert small["log_loss"] is small["gain"] is small["predicted"] is small["observed"] is None


class TestReliability:
    def test_bins_hold_every_observed_row_and_average_to_the_days_means(self):
        predictions, trace, observed, _, assessment = example()
        assert list(assessment["reliability"]) == ["reward model", "activity only"]
        for name, days in assessment["reliability"].items():
            assert [it["day"] for it in days] == [1, 2, 3]
            for it, seen, p, y in zip(days, observed.T, predictions[name].T, trace.T, strict=True):
                size = np.array([group["rows"] for group in it["bins"]])
                assert size.sum() == seen.sum()
                assert size @ [group["predicted"] for group in it["bins"]] / size.sum() == pytest.approx(p[seen].mean())
                shares = [group["observed"]["value"] for group in it["bins"]]
                assert size @ shares / size.sum() == pytest.approx(y[seen].mean())
                assert all(ordered(group["observed"]) for group in it["bins"])

    def test_equal_predictions_share_a_bin(self):
        predictions, *rest, _ = example()
        flat = predictions | {"reward model": predictions["base rate"]}
        assert [len(day["bins"]) for day in assessed(flat, *rest, resamples=2)["reliability"]["reward model"]] == [
            1,
            1,
            1,
        ]


class TestLedger:
    def test_the_steps_are_the_differences_of_the_values(self):
        *_, rows, assessment = example()
        values = rows.to_dict()
        expected = {
            "arrival": (values["value_before"] - values["value_previous"]).drop_nulls(),
            "exposure": values["value_exposed"] - values["value_before"],
            "surprise": values["value_after"] - values["value_exposed"],
        }
        for step in assessment["ledger"]["steps"]:
            change = expected[step["step"]].to_numpy()
            assert step["rows"] == len(change)
            assert step["value"] == pytest.approx(change.mean())
            assert step["sd"] == pytest.approx(change.std())
            assert step["quantiles"]["0.5"] == pytest.approx(np.median(change))
            assert ordered(step)

    def test_a_reward_that_is_the_exposure_step_is_called_so(self):
        ledger = example()[-1]["ledger"]
        assert ledger["reward_is_exposure"]
        assert ledger["reward_off"] < 1e-12
        assert ledger["reward_and_exposure"]["value"] == pytest.approx(1)
        assert ledger["sentences"][0].startswith("The reward is the exposure step on every row")

    def test_of_another_reward_the_correlation_with_the_step_is_told(self):
        *given, rows, _ = example()
        noise = np.random.default_rng(1).normal(0, 0.05, rows.height)
        other = rows.with_columns(reward=pl.col("value_exposed") - pl.col("value_before") + pl.Series(noise))
        ledger = assessed(*given, other)["ledger"]
        assert not ledger["reward_is_exposure"]
        assert ledger["reward_off"] == pytest.approx(np.abs(noise).max())
        exposure = (rows["value_exposed"] - rows["value_before"]).to_numpy()
        expected = np.corrcoef(exposure, exposure + noise)[0, 1]
        assert ledger["reward_and_exposure"]["value"] == pytest.approx(expected)
        assert ordered(ledger["reward_and_exposure"])
        assert ledger["sentences"][0].startswith("The reward is not the exposure step")

    @pytest.mark.parametrize(
        ("slope", "verdict"),
        [(0.1, "Surprise rises with"), (0.0, "Surprise does not depend on"), (-0.1, "Surprise falls")],
    )
    def test_a_slope_of_surprise_in_click_rate_is_recovered(self, slope, verdict):
        ledger = assessed(*sample(n=12_000, items=20, seed=1, surprise_slope=slope))["ledger"]
        assert ledger["slope"]["value"] == pytest.approx(slope, abs=0.01)
        assert ledger["sentences"][1].startswith(verdict)
        groups = ledger["surprise"]
        assert [group["rate"] for group in groups] == sorted(group["rate"] for group in groups)
        for group in groups:
            assert group["low"] - 0.005 < slope * group["rate"] < group["high"] + 0.005

    def test_a_rows_own_click_does_not_make_surprise_rise(self):
        # many items with few rows, equally clickable: rates differ by chance, and surprise goes with the row's click
        predictions, trace, observed, rows = sample(n=12_000, users=2000, items=600)
        click = np.random.default_rng(5).random(rows.height) < 0.5
        fair = rows.with_columns(
            click=pl.Series(click), value_after=pl.col("value_exposed") + pl.Series(0.1 * (click - 0.5))
        )
        slope = assessed(predictions, trace, observed, fair, min_item_rows=5)["ledger"]["slope"]
        assert slope["low"] < 0 < slope["high"]
        assert slope["high"] < 0.03

    def test_items_with_few_rows_are_left_out(self):
        *given, rows, _ = example()
        assessment = assessed(*given, rows, min_item_rows=10_000, resamples=2)
        ledger = assessment["ledger"]
        assert ledger["surprise"] == []
        assert ledger["slope"] == {"value": None, "low": None, "high": None}
        assert (
            ledger["sentences"][1] == "Whether surprise depends on an item's mean click is unknown (slope: no value)."
        )
        assert (
            "surprise by click: no item has min_item_rows=10000 rows in either half of the users" in assessment["notes"]
        )

    def test_items_of_one_click_rate_have_no_slope(self):
        *given, rows, _ = example()
        assessment = assessed(*given, rows.with_columns(pl.lit(1.0).alias(of_log("click"))), resamples=2)
        assert assessment["ledger"]["slope"]["value"] is None
        assert any(note.endswith("all items have one mean click") for note in assessment["notes"])
        assert assessment["reward"]["correlation"]["value"] is None
        assert any(note.endswith("one of the two does not vary") for note in assessment["notes"])


class TestReward:
    def test_its_distribution_is_described(self):
        *_, rows, assessment = example()
        reward, found = rows["reward"].to_numpy(), assessment["reward"]
        assert found["mean"] == pytest.approx(reward.mean())
        assert found["sd"] == pytest.approx(reward.std())
        assert found["quantiles"]["0.95"] == pytest.approx(np.quantile(reward, 0.95))
        histogram = found["histogram"]
        assert sum(histogram["counts"]) + histogram["below"] + histogram["above"] == len(reward)
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
        assert found["beyond_two_std"]["value"] == pytest.approx((np.abs(reward) > 0.04).mean())
        assert ordered(found["beyond_two_std"])

    def test_an_ensemble_of_one_has_no_share_beyond_its_std(self):
        *given, rows, _ = example()
        assessment = assessed(*given, rows.with_columns(reward_std=pl.lit(0.0)), resamples=2)
        assert assessment["reward"]["beyond_two_std"]["value"] is None
        assert any("as in an ensemble of one" in note for note in assessment["notes"])
        assert assessment["reward"]["sentences"][0].endswith("is unknown.")

    @pytest.mark.parametrize(
        ("effect", "verdict"), [(0.2, "rises with"), (0.0, "does not depend on"), (-0.2, "falls with")]
    )
    def test_a_reward_that_is_clickability_shows_it(self, effect, verdict):
        *given, rows = sample(seed=1)
        pays = rows.with_columns(reward=pl.col("reward") + effect * pl.col("item_id") / 40)
        reward = assessed(*given, pays)["reward"]
        assert reward["sentences"][1].startswith(f"An item's mean reward {verdict} its mean click")
        assert ordered(reward["correlation"])
        assert reward["correlation"]["items"] == 40

    def test_the_correlation_is_over_items_weighted_by_rows(self):
        *_, rows, assessment = example()
        by_item = rows.group_by("item_id").agg(pl.len(), pl.col("reward", of_log("click")).cast(float).mean())
        covariance = np.cov(by_item["reward"], by_item[of_log("click")], fweights=by_item["len"])
        expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        assert assessment["reward"]["correlation"]["value"] == pytest.approx(expected)


class TestLittle:
    def test_a_tiny_test_set_gives_notes_instead_of_a_crash(self):
        assessment = assessed(*sample(n=6, users=3, items=4, seed=3))
        json.dumps(assessment, allow_nan=False)
        assert None in numbers(assessment)
        for part in ("auc", "slice all rows", "surprise by click", "correlation of reward with click"):
            assert any(note.startswith(part) for note in assessment["notes"])
        assert assessment["carry"]["increments"][0]["value"] is not None

    def test_first_rows_alone_have_no_arrival(self):
        *given, rows, _ = example()
        assessment = assessed(*given, rows.with_columns(value_previous=pl.lit(None)), resamples=2)
        arrival = assessment["ledger"]["steps"][0]
        assert arrival["rows"] == 0
        assert arrival["value"] is arrival["sd"] is arrival["quantiles"]["0.5"] is None
        assert "mean arrival: 1 of 1 have no value, because no row has a value_previous" in assessment["notes"]

    def test_an_unseen_day_and_a_probability_of_zero_are_explained(self):
        predictions, trace, observed, rows, _ = example()
        observed = observed & (np.arange(3) < 2)
        sure = predictions | {"LightGBM": np.where(trace & (np.arange(3) == 0), 0.0, predictions["LightGBM"])}
        assessment = assessed(sure, trace, observed, rows, resamples=5)
        assert "metrics (day 3): no row is observed" in assessment["notes"]
        [note] = [note for note in assessment["notes"] if note.startswith("log_loss of LightGBM (horizon, day 1)")]
        assert note.endswith("something happened that was given probability 0")
        assert assessment["metrics"]["LightGBM"]["log_loss"]["value"] is None
        assert assessment["metrics"]["reward model"]["log_loss"]["by_day"][2]["value"] is None
        [said] = [it for it in assessment["carry"]["sentences"] if "LightGBM" in it]
        assert said == "Whether reward model predicts better than LightGBM is unknown (no value)."


class TestWithoutAClick:
    def test_rewards_and_surprise_are_held_against_nothing_and_it_says_what_to_name(self):
        predictions, trace, observed, rows, _ = example()
        found = assessed(predictions, trace, observed, rows.drop(of_log("click")), click=None)
        assert found["feedback"] is None
        assert found["ledger"]["surprise"] == []
        assert found["reward"]["correlation"]["value"] is None
        for part in ("ledger", "reward"):
            assert "data.click=NAME" in found[part]["sentences"][-1]


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model": "other"}, "expected a prediction named 'other', the reward model's, got reward model"),
            ({"rows": lambda rows: rows.head(5)}, "expected one of rows for each of the 3000 rows of trace, got 5"),
            (
                {"rows": lambda rows: rows.drop("reward", of_log("click"))},
                "rows has no column log: click, reward; its columns are",
            ),
            ({"rows": lambda rows: rows.with_columns(reward=pl.lit(None))}, "expected finite numbers in reward: score"),
            (
                {"rows": lambda rows: rows.with_columns(pl.lit(1).alias("slice: new"))},
                "expected true or false on every row of slice: new",
            ),
        ],
    )
    def test_what_cannot_be_assessed_says_so(self, changes, message):
        predictions, trace, observed, rows, _ = example()
        rows = changes.pop("rows", lambda rows: rows)(rows)
        with pytest.raises(ValueError, match=message):
            assessed(predictions, trace, observed, rows, **changes)


class TestWording:
    def test_the_examples_hold(self):
        for module, examples in ((wording, 5), (estimates, 2)):
            ran = doctest.testmod(module)
            assert ran.attempted >= examples
            assert ran.failed == 0

    @pytest.mark.parametrize(
        ("half_width", "decimals"), [(0.5, 2), (0.05, 3), (0.0123, 3), (1e-5, 6), (20.0, 0), (0.0, 3)]
    )
    def test_two_digits_of_the_half_width_are_shown(self, half_width, decimals):
        assert wording.places([Estimate(1.0, 1 - half_width, 1 + half_width)]) == decimals

    def test_an_estimate_without_value_or_interval_says_so(self):
        nothing, bare = Estimate(), Estimate(0.25)
        assert wording.amount(nothing, unit=" days", level=0.9) == "no value"
        assert wording.amount(bare, unit=" days", level=0.9) == "0.250 days, no interval"
        assert wording.percentage(nothing, level=0.9) == "–"
        assert wording.percentage(bare, level=0.9) == "25% (no interval)"
        assert nothing.side_of_zero == bare.side_of_zero == "unknown"
