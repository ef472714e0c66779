"""The benchmark of temporal consistency, in little."""

import json
import math

import numpy as np
import pytest
import torch

from reward.objectives.hazard import hazard_likelihood, log_survival


@pytest.fixture
def temporal(benchmark):
    return benchmark("temporal_consistency")


@pytest.fixture
def scores(benchmark):
    return benchmark("consistency.scores")


@pytest.fixture
def model(benchmark):
    return benchmark("consistency.model")


@pytest.fixture
def methods(benchmark):
    return benchmark("consistency.methods")


@pytest.fixture
def sequences(benchmark):
    return benchmark("consistency.sequences")


@pytest.fixture
def walks(sequences):
    return sequences.random_walk(1, mended=True, seed=5, tests=40)[0]


def test_a_run_that_was_broken_off_goes_on_and_the_result_has_its_form(temporal, tmp_path, monkeypatch):
    walk = temporal.random_walk
    monkeypatch.setattr(temporal, "random_walk", lambda count, mended, tests: walk(count, mended=mended, tests=60))
    told = ["--of", temporal.MENDED, temporal.POOLING, "--replicates", "2", "--sizes", "15", "--treatments", "12"]
    told += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "result.json")]
    temporal.main(told)
    monkeypatch.setattr(temporal, "compare", None)  # would fail if anything was computed again
    monkeypatch.setattr(temporal, "pool", None)
    temporal.main([*told, "--from-cache"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result) == {"commit", "machine", "rows", "seconds"}
    assert all(set(row) == {"what", "metric", "ours", "se", "peers", "goal", "met"} for row in result["rows"])
    rows = {(row["what"], row["metric"]): row for row in result["rows"]}
    index = rows[f"{temporal.MENDED}, n = 15", "C-index"]
    assert 0 <= index["ours"] <= 1
    ahead = rows[f"{temporal.MENDED}, n = 15", "C-index, ahead of TCSR, nested"]
    assert ahead["ours"] == pytest.approx(index["ours"] - index["peers"]["TCSR, nested"])
    assert ahead["met"] == (ahead["ours"] >= -ahead["se"])
    score = rows[f"{temporal.MENDED}, n = 15", "Brier, ahead of TCSR, nested"]
    brier = rows[f"{temporal.MENDED}, n = 15", "Brier"]
    assert score["ours"] == pytest.approx(brier["peers"]["TCSR, nested"] - brier["ours"])
    assert -1 <= rows["data pooling, 12 treatments", "Kendall tau"]["ours"] <= 1


def test_the_best_ridge_on_the_test_curves_is_one_for_all_replicates(temporal):
    metrics = {name: [0.1, 0.2] for name in temporal.SIGN}
    way = {**metrics, temporal.CONCORDANCE: [0.5, 0.8]}, {**metrics, temporal.CONCORDANCE: [0.7, 0.6]}
    ours = {name: [0.9] for name in temporal.SIGN}
    found = [
        {"picked": {each: [0] for each in temporal.WAYS}} | dict.fromkeys(temporal.WAYS, w) | {"ours": ours}
        for w in way
    ]
    rows = {row["metric"]: row for row in temporal.rows_of("it", 20, found)}
    peers = rows["C-index"]["peers"]
    assert peers["TCSR, nested"] == pytest.approx(0.6)
    assert peers["TCSR, picked on the test curves"] == pytest.approx(0.7)
    assert rows["Brier"]["peers"]["TCSR, picked on the test curves"] == pytest.approx(0.1)
    assert not rows["Brier, ahead of TCSR, nested"]["met"]


def test_half_the_sequences_are_held_against_all_of_them_replicate_by_replicate(temporal):
    def one(ours, landmarking):
        ways = {way: {name: [landmarking] for name in temporal.SIGN} for way in temporal.WAYS}
        return {"picked": {way: [0] for way in temporal.WAYS}} | ways | {"ours": {n: [ours] for n in temporal.SIGN}}

    found = {20: [one(9.0, 9.0)], 50: [one(0.7, 0.1), one(0.8, 0.1)], 100: [one(0.0, 0.5), one(0.0, 0.7)]}
    rows = {row["metric"]: row for row in temporal.halved("it", found)}
    assert {row["what"] for row in rows.values()} == {"it, n = 50"}
    ahead = rows["C-index, ours on half the sequences ahead of landmarking on all"]
    assert (ahead["ours"], ahead["met"]) == (pytest.approx(0.15), True)
    assert ahead["se"] == pytest.approx(0.05)
    assert not rows["Brier, ours on half the sequences ahead of landmarking on all"]["met"]
    assert rows["C-index, TCSR on half the sequences ahead of landmarking on all"]["ours"] == pytest.approx(-0.5)


def test_a_missing_data_set_is_said_in_a_sentence_and_left_out(temporal, tmp_path, capsys):
    with pytest.raises(SystemExit, match="nothing was measured"):
        temporal.main(["--of", "PBC2", "--data", str(tmp_path), "--cache", str(tmp_path / "cache")])
    told = " ".join(capsys.readouterr().out.split())
    assert "PBC2 is left out:" in told
    assert "pbcseq.csv is missing; it is published as pbcseq of the R package survival" in told


def test_concordance_counts_the_pairs_whose_order_is_known(scores):
    generator = torch.Generator().manual_seed(0)
    steps = torch.randint(0, 5, (60,), generator=generator)
    ended = (torch.rand(60, generator=generator) < 0.6) & (steps > 0)
    risk = torch.randn(60, 2, generator=generator).round(decimals=1)
    for early in (0, 1):
        right = pairs = 0
        for first in range(60):
            for other in range(60):
                outlasts = steps[other] > steps[first] or (steps[other] >= steps[first] - early and not ended[other])
                if ended[first] and outlasts and not (ended[other] and steps[other] <= steps[first]):
                    pairs += 1
                    right += (risk[first] > risk[other]).double() + (risk[first] == risk[other]).double() / 2
        assert scores.concordance(risk, steps, ended, early=early).tolist() == pytest.approx((right / pairs).tolist())


def test_the_brier_score_without_censoring_is_the_mean_square(scores):
    steps, ended = torch.tensor([1, 2]), torch.tensor([True, True])
    logits = torch.tensor([[[0.5, 0.5]], [[0.25, 0.5]]]).logit()
    expected = (0.5**2 + 0.25**2 + (1 - 0.75) ** 2 + 0.375**2) / 4
    assert scores.brier(logits, steps, ended).tolist() == pytest.approx([expected])
    early = (1 + 0.5**2 + 0 + 0.75**2) / 4
    assert scores.brier(logits, steps, ended, early=1).tolist() == pytest.approx([early])


def test_the_brier_score_weighs_those_still_seen_for_those_who_left(scores):
    steps, ended = torch.tensor([1, 2, 2, 2]), torch.tensor([False, True, True, False])
    logits = torch.full((4, 1, 2), 0.5).logit()
    after_one, after_two = 4 * 0.5**2, 2 * 0.25**2 + 0.75**2  # by then one of four has left unseen
    assert scores.brier(logits, steps, ended).tolist() == pytest.approx([(after_one + after_two / 0.75) / 8])


def test_sequences_keep_their_rows_and_know_what_follows(sequences):
    states = [np.array([[1.0], [2.0]]), np.array([[3.0], [4.0], [5.0]])]
    data = sequences.Sequences.of(states, np.array([2, 2]), np.array([False, True]), 4)
    assert data.steps.tolist() == [2, 1, 2, 1, 0]
    assert data.gap.tolist() == [1, 4, 1, 1, 4]
    assert data.first.tolist() == [True, False, True, False, False]
    swapped = data.take(np.array([1, 0]))
    assert swapped.states.flatten().tolist() == [3, 4, 5, 1, 2]
    assert swapped.ended.tolist() == [False] * 3 + [True] * 2
    assert len(swapped) == 2
    assert data.initial().states.flatten().tolist() == [1, 3]


def test_as_published_a_walk_does_not_walk_and_mended_it_does(sequences):
    def alike(mended):
        data = sequences.random_walk(1, mended=mended, seed=3, tests=300)[0].test
        follows = (data.gap == 1).nonzero().squeeze(1)
        pair = [data.states[rows, :-1].flatten().numpy() for rows in (follows, follows + 1)]
        return np.corrcoef(*pair)[0, 1]

    assert abs(alike(False)) < 0.05
    assert alike(True) > 0.8


def test_walks_that_outlast_the_horizon_are_censored_there(walks):
    data = walks.test
    late = ~data.ended & data.first
    assert late.any()
    assert (data.steps[late] == 10).all()
    assert (data.steps[data.ended] >= 1).all()


def penalised(model, data, design, theta, lam):
    """The loss of which a fit's parameters are the minimum, given targets made with them."""
    logits = design.logits(data.states, theta)
    target, risk = model.hazard_targets(data.steps, data.ended, logits, data.gap, lam=lam)
    return (model.soft_hazard_likelihood(logits, target, risk)).sum(0)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_a_fit_meets_the_targets_it_makes(model, methods, walks, lam):
    data = walks.train.take(np.arange(60))
    penalty = methods.shrinkage([(1.0, 2.0), (30.0, 5.0)], 21, 10).double()
    design = model.Numbers(methods.fading(10).double(), penalty)
    theta = model.fit(data, design, lam=lam, tolerance=1e-9, iterations=300).requires_grad_()
    loss = penalised(model, data, design, theta, lam) + torch.einsum("bi,bij,bj->b", theta, penalty, theta)
    (slope,) = torch.autograd.grad(loss.sum(), theta)
    assert slope.abs().max() < 1e-5


def test_landmarking_is_the_likelihood_of_every_state(model, methods, walks):
    data = walks.train.take(np.arange(60))
    design = methods.ridge_of_all([1.0], data)
    theta = model.fit(data, design, lam=1.0, tolerance=1e-9).requires_grad_()
    loss = hazard_likelihood(design.logits(data.states, theta), data.steps, data.ended).sum() + (theta**2).sum()
    (slope,) = torch.autograd.grad(loss, theta)
    assert slope.abs().max() < 1e-5


def test_rows_without_weight_teach_nothing(model, methods, walks):
    data = walks.train.take(np.arange(60))
    fold = methods.inner_folds(data, 0)
    rows = methods.training_rows(fold, 1).double()
    design = methods.ridge_of_all([1.0] * 6, data)
    theta = model.fit(data, design, lam=0.0, rows=rows)
    chosen = np.flatnonzero((fold != 2)[data.first].numpy())
    alone = model.fit(data.take(chosen), methods.ridge_of_all([1.0], data), lam=0.0)
    torch.testing.assert_close(theta[3], alone[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_codes_are_numbers_that_say_which_state_it_is(model, methods, sequences, lam):
    data, _ = sequences.pooled_treatments(6, np.random.default_rng(0))
    shown = torch.nn.functional.one_hot(data.states, 26).double()
    many = sequences.Sequences(shown, data.sequence, data.steps, data.ended, data.horizon)
    numbers = methods.ridge_of_all([0.5, 2.0], many)
    codes = methods.codes(torch.zeros(26, 0).double(), [0.5, 2.0], 5, terms=1.0, baseline=0.0)
    codes.penalty[:, 26:] = torch.tensor([[0.5], [2.0]])
    fits = [model.fit(each, design, lam=lam) for each, design in ((many, numbers), (data, codes))]
    torch.testing.assert_close(*fits, rtol=0, atol=1e-4)


def test_features_of_codes_are_coefficients_like_others(model, methods, sequences):
    data, _ = sequences.pooled_treatments(6, np.random.default_rng(0))
    features = torch.randn(26, 2, generator=torch.Generator().manual_seed(0)).double()
    codes = methods.codes(features, [0.7], 5, terms=0.3, baseline=0.1)
    theta = model.fit(data, codes, lam=0.0, tolerance=1e-9).requires_grad_()
    loss = penalised(model, data, codes, theta, 0.0) + (codes.penalty * theta**2).sum(1)
    (slope,) = torch.autograd.grad(loss.sum(), theta)
    assert slope.abs().max() < 1e-5


def test_pairs_say_all_that_one_step_reads(model, methods, sequences):
    data, _ = sequences.pooled_treatments(30, np.random.default_rng(0))
    few, rows = methods.pairs(data, torch.ones(len(data.states), 1).double())
    assert len(few.states) < len(data.states)
    design = methods.codes(torch.zeros(50, 0).double(), [1.0], 5, terms=1.0, baseline=1.0)
    whole, counted = model.fit(data, design, lam=0.0), model.fit(few, design, lam=0.0, rows=rows)
    torch.testing.assert_close(whole, counted, rtol=0, atol=1e-4)


def test_states_that_are_reached_from_the_same_places_are_alike_and_noise_is_not(methods, sequences):
    rng = np.random.default_rng(0)
    data, harsh = sequences.pooled_treatments(200, rng)
    found = methods.reached_from(data, 220)
    kind = np.repeat([0, 1], 10)
    assert abs(np.corrcoef(found[:20, 0], kind)[0, 1]) > 0.95
    assert abs(np.corrcoef(found[20:, 0], harsh)[0, 1]) > 0.8
    data.states[~data.first] = torch.from_numpy(rng.integers(20, size=int((~data.first).sum())))
    assert methods.reached_from(data, 220).shape == (220, 0)


def test_an_average_of_curves_is_between_them_and_one_curve_is_itself(methods):
    logits = torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(0)).double()
    curves = log_survival(logits).exp()
    torch.testing.assert_close(methods.averaged(curves, np.array([0.0, 1.0]))[:, 0], logits[:, 1])
    both = log_survival(methods.averaged(curves, np.array([0.5, 0.5]))).exp()[:, 0]
    torch.testing.assert_close(both, curves.mean(1))


def test_a_held_out_row_is_judged_by_the_fit_that_did_not_see_it(methods, walks):
    data = walks.train.take(np.arange(10))
    fold = methods.inner_folds(data, 0)
    logits = torch.arange(6.0)[None, :, None].expand(len(data.states), 6, 10)
    told = methods.held_out(logits, data, fold, 1, data.first)
    mine = (1.0 + fold[data.first])[:, None, None].expand(-1, 1, 10)
    expected = -hazard_likelihood(mine, data.steps[data.first], data.ended[data.first]).sum(0)
    assert told.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert math.isfinite(told[0])
