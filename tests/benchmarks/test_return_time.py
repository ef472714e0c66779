"""The benchmark of return times: its models by hand and by another road, its scores, and what it may see."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln

from reward.evaluation.survival_metrics import c_index

BG = np.array([0.243, 4.414, 0.793, 2.426])  # the published estimates for a tenth of CDNOW
PARETO = np.array([0.553, 10.578, 0.606, 11.669])


@pytest.fixture
def classics(benchmark):
    return benchmark("waiting.buy_till_you_die")


@pytest.fixture
def customers(benchmark):
    return benchmark("waiting.customers")


@pytest.fixture
def scores(benchmark):
    return benchmark("waiting.scores")


@pytest.fixture
def forecasters(benchmark):
    return benchmark("waiting.forecasters")


def drawn(customers, *, people=60, weeks=30, seed=0):
    """Purchases of people who buy at their own rates."""
    random = np.random.default_rng(seed)
    rows = sorted(
        {
            (who, int(day))
            for who in range(people)
            for day in np.cumsum(np.r_[random.integers(20), random.geometric(0.02 + 0.1 * random.random(), 12)])
            if day < 7 * weeks
        }
    )
    who, day = np.array(rows).T
    amounts = random.gamma(2.0, 10.0, len(rows))
    return customers.Purchases(who, day, amounts, np.ones(len(rows)), people)


def integrated(parameters, x, last, age):
    """The Pareto/NBD likelihood by integrating over the end of a life instead of by ₂F₁."""
    r, alpha, s, beta = parameters
    before = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    left, _ = quad(lambda u: s * (alpha + u) ** -(r + x) * (beta + u) ** -(s + 1), last, age)
    return before + np.log((alpha + age) ** -(r + x) * (beta + age) ** -s + left)


@pytest.mark.parametrize("turned", [False, True])
def test_the_pareto_nbd_likelihood_is_the_integral_over_the_end_of_a_life(classics, turned):
    parameters = PARETO[[2, 3, 0, 1]] if turned else PARETO  # α above β, and below it
    x, last, age = np.array([0.0, 2, 7]), np.array([0.0, 30.43, 20]), np.array([38.86, 38.86, 39])
    found = classics.pareto_nbd_log_likelihood(parameters, classics.History(x, last, age))
    np.testing.assert_allclose(found, [integrated(parameters, *one) for one in zip(x, last, age, strict=True)])


def test_a_customer_who_never_came_back_has_the_bg_nbd_likelihood_of_silence(classics):
    # nobody leaves before a first repeat purchase: x = 0 is (α / (α + T))^r
    found = classics.bg_nbd_log_likelihood(BG, classics.History(*np.array([[0.0], [0.0], [39.0]])))
    np.testing.assert_allclose(found, BG[0] * np.log(BG[1] / (BG[1] + 39)))


def test_one_repeat_purchase_by_hand(classics):
    r, alpha, a, b = 1.0, 2.0, 1.0, 1.0
    # λ is exponential with mean ½, p uniform: ∫ (1 − p) λ e^{−4λ} + p λ e^{−3λ}, half of 2/6² and half of 2/5²
    found = classics.bg_nbd_log_likelihood(np.array([r, alpha, a, b]), classics.History(*np.array([[1.0], [3], [4]])))
    np.testing.assert_allclose(np.exp(found), 0.5 * 2 / 6**2 + 0.5 * 2 / 5**2)


@pytest.mark.parametrize(("name", "parameters"), [("BG_NBD", BG), ("PARETO_NBD", PARETO)])
def test_the_survival_is_the_ratio_of_likelihoods_of_going_on_in_silence(classics, name, parameters):
    model = getattr(classics, name)
    x, last, age = np.array([0.0, 3, 12]), np.array([0.0, 21, 38.5]), np.array([30.0, 39, 39])
    now = model.log_likelihood(parameters, classics.History(x, last, age))
    later = model.log_likelihood(parameters, classics.History(x, last, age + 13))
    survival = model.survival(parameters, classics.History(x, last, age), np.arange(1.0, 14))
    np.testing.assert_allclose(survival[:, -1], np.exp(later - now), rtol=1e-6)
    assert (np.diff(survival, axis=1) < 0).all()


def test_parameters_are_found_again(classics):
    random = np.random.default_rng(0)
    r, alpha, a, b = true = np.array([0.5, 5.0, 1.0, 3.0])
    people, age = 20_000, 60.0
    rate, leaves = random.gamma(r, 1 / alpha, people), random.beta(a, b, people)
    repeats, last, at, alive = np.zeros(people), np.zeros(people), np.zeros(people), np.ones(people, bool)
    for _ in range(400):
        at = at + random.exponential(1 / rate)
        buys = alive & (at < age)
        repeats, last = repeats + buys, np.where(buys, at, last)
        alive = buys & (random.random(people) > leaves)
    found = classics.fitted(classics.BG_NBD, classics.History(repeats, last, np.full(people, age)))
    np.testing.assert_allclose(found, true, rtol=0.15)


def test_a_wait_is_told_in_whole_weeks_from_the_landmark_on(customers):
    day = np.array([0, 6, 21, 3])
    log = customers.Purchases(np.array([0, 0, 0, 1]), day, np.ones(4), np.ones(4), 2)
    customer, week = customers.landmarks(log, np.array([1, 2]))
    assert (customer.tolist(), week.tolist()) == ([0, 0, 1, 1], [1, 2, 1, 2])
    time, event = customers.waits(log, customer, week, end=4, horizon=5)
    assert (time.tolist(), event.tolist()) == ([3, 2, 3, 2], [True, True, False, False])
    time, event = customers.waits(log, customer, week, end=4, horizon=2)
    assert (time.tolist(), event.tolist()) == ([2, 2, 2, 2], [False, True, False, False])


def test_what_is_known_of_a_customer_by_hand(customers):
    log = customers.Purchases(np.zeros(3, int), np.array([0, 7, 28]), np.array([5.0, 7, 100]), np.array([1.0, 3, 9]), 1)
    told = dict(zip(customers.NAMES, customers.known(log, np.array([0]), np.array([14]))[0], strict=True))
    assert told["age"] == 2
    assert told["recency"] == told["last gap"] == told["frequency"] == told["weeks a purchase"] == 1
    assert told["purchases in 4 weeks"] == 2
    assert (told["all dollars"], told["last dollars"], told["mean units"]) == (12, 7, 2)
    with pytest.raises(ValueError, match="expected customers who have bought before the day"):
        customers.known(log, np.array([0]), np.array([0]))


def test_a_log_that_is_not_there_is_named(customers, tmp_path):
    with pytest.raises(SystemExit, match=r"events.parquet is missing: expected the CDNOW master data set"):
        customers.read(tmp_path)


def test_the_likelihood_is_that_of_the_week_of_the_return(scores):
    survival = np.array([[0.8, 0.4], [0.8, 0.4], [0.9, 0.5]])
    found = scores.log_likelihood(survival, np.array([2, 2, 1]), np.array([True, False, True]))
    np.testing.assert_allclose(found.value, np.log([0.4, 0.4, 0.1]).mean())


def test_the_brier_score_by_hand(scores):
    survival, time = np.array([[0.8, 0.4], [0.9, 0.5]]), np.array([1, 2])
    found = scores.brier(survival, time, np.array([True, False]))
    np.testing.assert_allclose(found.value, np.mean([[0.8**2, 0.4**2], [0.1**2, 0.5**2]]))
    with pytest.raises(ValueError, match="expected rows known for 2 weeks"):
        scores.brier(survival, time, np.array([False, True]))


def waits_and_forecast(seed=0, rows=300, weeks=6):
    random = np.random.default_rng(seed)
    hazard = 0.05 + random.random((rows, weeks)).round(1) * 0.4
    time = np.minimum(random.geometric(0.2, rows), weeks)
    return np.cumprod(1 - hazard, axis=1), time, random.random(rows) < 0.7


def test_c_is_that_of_the_library(scores):
    survival, time, event = waits_and_forecast()
    expected = c_index(-survival[:, :-1].sum(1), time, event)
    np.testing.assert_allclose(scores.c_index(survival, time, event).value, expected)


@pytest.mark.parametrize("metric", ["log-likelihood", "C-index"])
def test_standard_errors_are_those_of_drawing_customers(scores, metric):
    survival, time, event = waits_and_forecast()
    other, _, _ = waits_and_forecast(seed=1)
    customer = np.arange(len(time)) // 3
    ours, theirs = (scores.OF[metric](each, time, event) for each in (survival, other))
    random, apart = np.random.default_rng(2), []
    for _ in range(400):
        rows = (3 * random.integers(100, size=(100, 1)) + np.arange(3)).ravel()
        mine, its = (scores.OF[metric](each[rows], time[rows], event[rows]) for each in (survival, other))
        apart.append(mine.value - its.value)
    told = scores.standard_error(ours.influence - theirs.influence, customer)
    np.testing.assert_allclose(told, np.std(apart), rtol=0.12)


NETWORK = {"context": ("age", "recency", "frequency"), "width": 8, "rate": 1e-3, "decay": 0.0, "dropout": 0.0}
NETWORK |= {"every": 4, "reach": 4, "epochs": 1, "seed": 0}
TREES = {"columns": ("age", "recency", "frequency"), "leaves": 3, "trees": 3, "least": 5}


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("kaplan_meier", {}),
        ("boosted_trees", TREES),
        ("stream_network", NETWORK | {"lam": 1.0}),
        ("stream_network", NETWORK | {"lam": 1.0, "context": ("recency", "frequency"), "every": 1, "reach": 1}),
        ("stream_network", NETWORK | {"lam": 0.5, "reach": 6}),
    ],
)
def test_a_forecast_is_a_survival_and_nothing_after_the_cut_moves_it(customers, forecasters, name, setting):
    log, cut = drawn(customers), 20
    first = log.day[log.first[:-1]] < 7 * cut
    seen = log.before(cut)
    survival = getattr(forecasters, name)(seen, cut, 6, **setting)
    assert survival.shape == (first.sum(), 6)
    assert (np.diff(survival, axis=1, prepend=1) <= 0).all()
    assert (survival > 0).all()
    assert seen.day.max() < 7 * cut
    later = drawn(customers)
    later.day[later.day >= 7 * cut] += 1
    np.testing.assert_array_equal(getattr(forecasters, name)(later.before(cut), cut, 6, **setting), survival)


def test_the_curve_of_all_is_the_share_of_those_at_risk(customers, forecasters):
    day = np.array([0, 1, 1, 36, 2, 43])
    log = customers.Purchases(np.array([0, 1, 2, 2, 3, 3]), day, np.ones(6), np.ones(6), 4)
    # landmark at week 5, 2 weeks known: one of four is back in the first, one of the three left in the second
    np.testing.assert_allclose(forecasters.kaplan_meier(log, 7, 2), np.tile([0.75, 0.5], (4, 1)))


def test_settings_are_chosen_on_cuts_that_were_over(benchmark):
    module = benchmark("return_time")
    assert all(cut + module.HORIZON <= later for cut, later in zip(module.CUTS, module.CUTS[1:], strict=False))
    likelihoods = [{26: -1.0, 39: -1.5, 52: -9.0}, {26: -2.0, 39: -0.1, 52: 0.0}]
    assert [module.chosen_for(likelihoods, cut) for cut in (39, 52)] == [0, 1]
    assert module.chosen_for([{26: -1.0, 39: -1.0, 52: -1.0}, {26: -1.5, 39: -1.0, 52: 9.0}], 52) == 0


def test_every_setting_names_what_its_forecaster_reads(benchmark):
    module = benchmark("return_time")
    for entry in module.MODELS.values():
        for setting in entry.settings:
            for part in setting.get("average", [{}]):
                told = {key: value for key, value in setting.items() if key != "average"} | part
                inspect.signature(entry.forecast).bind(None, 26, module.HORIZON, **told)


def test_the_page_shows_the_figures_of_the_results(benchmark):
    module = benchmark("return_time")
    rows = json.loads((module.ROOT / "benchmarks" / "results" / "return_time.json").read_text())["rows"]
    page = Path(module.ROOT / "docs" / "research" / "return_time.md").read_text()
    for log in ("CDNOW", "KuaiRand"):
        told = [row for row in rows if row["what"].startswith(log)]
        assert told
        assert module.markdown(told) in page


def test_cox_forecasts_a_survival(customers, forecasters):
    pytest.importorskip("lifelines")
    log = drawn(customers, people=300)
    survival = forecasters.cox(log.before(20), 20, 6, columns=("age", "recency", "frequency"), penalizer=0.1, every=6)
    assert (np.diff(survival, axis=1, prepend=1) <= 0).all()
