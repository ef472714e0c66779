"""The benchmark of long-term off-policy evaluation, in little."""

import json

import numpy as np
import pytest


@pytest.fixture
def lope(benchmark):
    return benchmark("lope")


@pytest.fixture
def setting(lope, benchmark):
    return benchmark("long_term.setting")


def test_the_published_population_has_the_published_values(setting):
    """The paper's code prints .791 to .837 and 1.311 to 1.360, by how its unseeded clusters fall."""
    old, new = setting.population(setting.PUBLISHED).values
    assert 0.77 < old < 0.84
    assert 1.29 < new < 1.37


def test_the_clusters_are_those_of_their_seed_and_no_point_is_nearer_to_another_mean(setting):
    points = np.random.default_rng(0).normal(size=(300, 5))
    found = setting.clustered(points, 3, seed=7)
    np.testing.assert_array_equal(found, setting.clustered(points, 3, seed=7))
    means = np.stack([points[found == each].mean(axis=0) for each in range(3)])
    nearest = ((points[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, found)


def test_a_simulation_is_that_of_its_seed_and_noise_changes_the_long_term_alone(setting):
    people = setting.population(1)
    one, again, noisy = (setting.simulation(people, 50, noise, 3) for noise in (1.0, 1.0, 9.0))
    np.testing.assert_array_equal(one.history.long, again.history.long)
    for rows, others in ((one.history, noisy.history), (one.new, noisy.new)):
        np.testing.assert_array_equal(rows.action, others.action)
        np.testing.assert_array_equal(rows.short, others.short)
        assert (rows.long != others.long).all()
    np.testing.assert_allclose(one.history.new.sum(axis=1), 1)
    top = np.sort(one.history.new, axis=1)[:, -3:]
    np.testing.assert_allclose(top, 0.3 + 0.1 / 30)


def test_networks_learn_each_its_own_data(lope, benchmark):
    networks, draws = benchmark("long_term.networks"), np.random.default_rng(0)
    x = draws.normal(size=(2, 400, 2))
    target = np.stack([x[0, :, 0], -x[1, :, 1]])
    (told,) = networks.fitted(x, target, [x], classes=0, seed=0)
    (chance,) = networks.fitted(x, (target > 0).astype(int), [x], classes=2, seed=0)
    for each in range(2):
        assert np.corrcoef(told[each], target[each])[0, 1] > 0.9
        assert ((chance[each, :, 1] > 0.5) == (target[each] > 0)).mean() > 0.9


@pytest.mark.slow
def test_networks_fit_as_well_as_scikit_learns_within_the_noise_of_their_starts(lope, benchmark, monkeypatch):
    network = pytest.importorskip("sklearn.neural_network")
    networks = benchmark("long_term.networks")
    monkeypatch.setattr(networks, "PASSES", 100)
    draws, many, n = np.random.default_rng(0), 10, 400
    x = draws.normal(size=(many, n, 4))
    y = 3 * x[..., 0] + 0.5 * draws.normal(size=(many, n))
    label = (x[..., :3] + 0.5 * draws.normal(size=(many, n, 3))).argmax(axis=2)
    (told,), (chance,) = (
        networks.fitted(x, y, [x], classes=0, seed=0),
        networks.fitted(x, label, [x], classes=3, seed=0),
    )
    np.testing.assert_allclose(chance.sum(axis=2), 1, atol=1e-5)
    settings = {"hidden_layer_sizes": (10, 10, 10), "max_iter": 100}
    square, log = [], []
    for i in range(many):
        with pytest.warns(match="Maximum iterations"):
            theirs = network.MLPRegressor(random_state=i, **settings).fit(x[i], y[i]).predict(x[i])
        with pytest.warns(match="Maximum iterations"):
            of_class = network.MLPClassifier(random_state=i, **settings).fit(x[i], label[i]).predict_proba(x[i])
        square.append([np.mean((theirs - y[i]) ** 2), np.mean((told[i] - y[i]) ** 2)])
        mine = chance[i, np.arange(n), label[i]]
        log.append([-np.log(of_class[np.arange(n), label[i]]).mean(), -np.log(mine).mean()])
    for each in (square, log):
        theirs, ours = np.transpose(each)
        error = np.hypot(theirs.std(), ours.std()) / many**0.5
        assert error < 0.25 * theirs.mean()
        assert abs(ours.mean() - theirs.mean()) < 3 * error


def test_the_command_writes_goals_and_goes_on_from_its_cache(lope, benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark("long_term.networks"), "PASSES", 2)
    cases = (lope.Case(60, 5.0), lope.Case(70, 1.0), lope.Case(70, 9.0))
    monkeypatch.setattr(lope, "CASES", cases)
    monkeypatch.setattr(lope, "CHOICES", cases[1:])
    monkeypatch.setattr(lope, "GOALS", {cases[0]: 0.255})
    told = ["--simulations", "3", "--first-seed", "20000", "--population", "10001", "--cache", str(tmp_path)]
    told += ["--out", str(tmp_path / "out.json")]
    lope.main(told)
    first = json.loads((tmp_path / "out.json").read_text())["rows"]
    goals = [(row["what"], row["metric"]) for row in first if row["goal"] is not None]
    assert goals == [
        ("n = 60, σ = 5", "squared error, LOPE"),
        ("n = 60, σ = 5", "squared error, LOPE, ours"),
        ("n = 60, σ = 5", "squared error, LOPE, ours, tempered"),
        *(
            (f"n = 70, σ = {noise}", f"chosen, over the better of DR and LOPE {what}")
            for noise in (1, 9)
            for what in ("as published", "ours")
        ),
    ]
    assert len(list(tmp_path.glob("weights-*"))) == 2  # one a number of rows

    def broken(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(lope, "simulation", broken)
    lope.main(told)
    assert json.loads((tmp_path / "out.json").read_text())["rows"] == first
    assert "true value" in capsys.readouterr().out
