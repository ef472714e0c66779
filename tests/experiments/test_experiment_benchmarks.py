"""The benchmarks of proxies and of tests: what they simulate, and by which formulas."""

import json

import numpy as np
import pytest


@pytest.fixture
def proxies(benchmark):
    return benchmark("proxies")


@pytest.fixture
def ab_tests(benchmark):
    return benchmark("ab_tests")


def test_errors_have_the_covariance_that_is_told(proxies, monkeypatch):
    case = proxies.Case(arms=2, users=(50, 51), strength=1e-12)
    monkeypatch.setattr(proxies, "UNEVEN", 0.0)
    tables = [proxies.from_moments(case, np.random.default_rng(seed)) for seed in range(20)]
    errors = np.concatenate([table.effects for table in tables])
    expected = proxies.USERS * 2 / 50
    assert np.cov(errors.T) == pytest.approx(expected, abs=0.1 * expected.max())
    told = np.mean([table.covariance.mean(0) for table in tables], axis=0)
    assert told == pytest.approx(expected, abs=0.02 * expected.max())
    one, other = errors.reshape(-1, 2, 3).swapaxes(0, 1)
    assert np.corrcoef(one[:, 0], other[:, 0])[0, 1] == pytest.approx(0.5, abs=0.05)  # the control they share


def test_effects_have_the_slope_that_is_told(proxies):
    effects = np.concatenate(
        [proxies.true_effects(proxies.CASES["direct"], np.random.default_rng(seed)) for seed in range(100)]
    )
    slope = np.linalg.lstsq(effects[:, :2], effects[:, 2], rcond=None)[0]
    assert slope == pytest.approx(proxies.BETA, abs=0.02)
    assert proxies.own_slope(proxies.CASES["carried"]) == pytest.approx(proxies.BETA)
    assert np.abs(proxies.own_slope(proxies.CASES["direct"]) - proxies.BETA).max() > 0.1


def test_users_drawn_one_by_one_have_the_effects_asked_for(proxies, monkeypatch):
    monkeypatch.setattr(proxies, "EXPERIMENTS", 30)
    case = proxies.Case(users=(2000, 2001), strength=200.0, rows=True)
    effects = proxies.true_effects(case, np.random.default_rng(5))
    table = proxies.from_rows(case, np.random.default_rng(5))
    z = (table.effects - effects) / np.sqrt(table.covariance.diagonal(0, 1, 2))
    assert z.std() == pytest.approx(1.0, abs=0.2)


def test_the_proxy_benchmark_tells_of_every_case_and_method(proxies, tmp_path):
    out = tmp_path / "proxies.json"
    proxies.main(["--repetitions", "12", "--cases", "carried", "direct", "--seed", "7", "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    told = {row["what"] for row in rows}
    assert {"carried: TC, short", "carried: LIML, long", "direct: LIML, its own slope, short", "direct"} <= told
    judged = [row for row in rows if row["goal"] is not None]
    assert len(judged) == 2 * 2 * 6  # two goals for two signals, of three methods in two cases
    assert not [row for row in judged if "naive," in row["what"]]


def test_tests_at_once_are_tests_one_by_one(ab_tests):
    pytest.importorskip("spotify_confidence", exc_type=ImportError)
    assert ab_tests.disagreement(ab_tests.Population.drawn(3), 5, 2) < 1e-9


def test_running_sums_are_sums_of_the_users_known_by_then(ab_tests):
    rng = np.random.default_rng(0)
    y, x = rng.poisson(1.0, (3, 2, 40)).astype(float), rng.normal(size=(3, 2, 40))
    effect, se, _ = ab_tests.plain(ab_tests.Sums.running(y, x).at(np.array([10, 40])))
    for test in range(3):
        for at, users in enumerate((10, 40)):
            off, on = y[test, :, :users]
            assert effect[test, at] == pytest.approx(on.mean() - off.mean())
            assert se[test, at] == pytest.approx(np.sqrt((on.var(ddof=1) + off.var(ddof=1)) / users))


def test_the_benchmark_of_tests_tells_of_every_test(ab_tests, tmp_path, monkeypatch):
    pytest.importorskip("spotify_confidence", exc_type=ImportError)
    monkeypatch.setattr(ab_tests, "USERS", 100)
    out = tmp_path / "ab_tests.json"
    ab_tests.main(["--tests", "40", "--one-by-one", "1", "--seed", "7", "--out", str(out)])
    rows = {(row["what"], row["metric"]): row for row in json.loads(out.read_text())["rows"]}
    for name in (*ab_tests.FIXED, *ab_tests.SEQUENTIAL):
        assert 0 <= rows[name, "rejects without an effect"]["ours"] <= 1
    assert rows["formulas", "largest difference from reward.experiments"]["met"]
    assert rows["fixed test read every day", "rejects without an effect"]["goal"] is None
