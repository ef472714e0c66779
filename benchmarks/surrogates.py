"""May the first days of a test stand in for its last? The surrogate index where surrogacy holds and where it fails.

Four studies, each on tests whose true long-term effects are known.

index      one test of each kind, drawn again and again: bias of the effect on the surrogate index of the first 14 of 63
           days, and how often intervals cover the truth: the plain one, and the one widened by the largest bias that a
           failed surrogacy allows. Tests that do nothing reject at their level.
mixed      tests as a service might run them. From some that have run to the end the spread of what surrogacy left
           out is learned; told is how often the others' intervals cover, with it and without.
agreement  decisions after k days against those after 63: share of tests with the same decision, launches recalled,
           precision, for days seen so far and two auto-surrogates. Netflix's 14 of 63 days are for comparison.
service    the same for rankers in a simulated service over 28 days, with the reward model beside the others; the model
           and the auto-surrogates have learned from the log before the tests.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from early import service, traces
from early.agreed import LEVEL, OUTCOME, told_agreement, told_error
from early.readers import BOOSTED, LINEAR, REGRESSIONS, SEEN, index_of, readers
from harness import TINY, Benchmark, Smoke, kept, result_row, share_and_se

from reward.experiments.early_readout import (
    Effects,
    effects_by_test,
)
from reward.experiments.surrogate_effect import IndexEffect, violations
from reward.experiments.surrogate_index import Experiment, PastExperiments
from reward.simulation.slate_policies import logging_policy

SMOKE = Smoke(
    f"--repetitions 2 --nothing-repetitions 2 --holding-repetitions 2 --seeds 1 --users 80 --settings {TINY}",
    USERS=200,
    MIXED_TESTS=8,
    MIXED_USERS=200,
    MIXED_PAST=300,
    KNOWN_TESTS=(5,),
    SPLITS=3,
    TESTS=8,
    TEST_USERS=200,
    PAST_USERS=300,
    TRUTH_USERS=2000,
    RESAMPLES=20,
    HALVES=4,
)
RESAMPLES = 1000
MODEL = "reward model"
USERS = 2_000  # of the test, and as many of the past: study index
MIXED_TESTS, MIXED_USERS, MIXED_PAST, KNOWN_TESTS, SPLITS = 200, 4_000, 20_000, (10, 40), 500
TESTS, TEST_USERS, PAST_USERS = 300, 8_000, 20_000
STRENGTH = 0.3  # standard deviation of what a test adds to the logit of being active
DAYS = (1, 3, 7, 14, 21, 28, 42, 63)
SERVICE_DAYS, HALVES = (3, 7, 14), 100
TRUTH_USERS = 400_000
STUDIES = ("index", "mixed", "agreement", "service")
WIDENED = "covered, widened by the bound"
MAIN = "LightGBM"
BANDS = {
    "covered": ("0.93 to 0.97", lambda rate: 0.93 <= rate <= 0.97),
    "rejected": ("0.04 to 0.06", lambda rate: 0.04 <= rate <= 0.06),
    WIDENED: (">= 0.95", lambda rate: rate >= 0.95),
}


def sample(act, treated, rng, first=0):
    """A test, and the outcomes that it would be waited for."""
    users = traces.lived(act, treated, rng)
    surrogates, covariates = traces.told(users, act)
    return Experiment(first + np.arange(len(treated)), surrogates, treated, covariates), users.outcome


def past_of(act, count, rng, first=0):
    """Users of before, whom nothing was done to."""
    users = traces.lived(traces.Act(left=act.left, hidden=act.hidden), np.zeros(count, bool), rng)
    surrogates, covariates = traces.told(users, act)
    return PastExperiments(first + np.arange(count), surrogates, users.outcome, covariates)


def index_study(kind, regression, repetitions, bench):
    """Effects of one kind of test, drawn again and again, and the truth."""
    act = traces.CASES[kind]
    found = []
    for one in bench.progress(range(repetitions), f"index: {kind}, {regression}"):
        rng = np.random.default_rng([17, list(traces.CASES).index(kind), one])
        test, outcome = sample(act, np.arange(USERS) % 2 == 0, rng)
        past = past_of(act, USERS, rng, first=USERS)
        told = index_of(regression, one).effect(test, past)
        full = effects_by_test(np.zeros(USERS, int), test.treated, outcome)
        found.append(
            [told.effect, told.se, told.uncorrected, told.worst_bias, float(full.effect[0]), told.turning_point]
        )
    return {"truth": traces.truth(act, TRUTH_USERS, 3)[0], "found": found}


def mixed_study(bench):
    """Tests of many kinds, each read early, at the end, and as it truly is."""
    rng = np.random.default_rng(29)
    kinds, acts = traces.drawn_acts(MIXED_TESTS, rng, STRENGTH)
    past = past_of(traces.Act(), MIXED_PAST, rng, first=MIXED_USERS)
    out = {"kind": kinds.tolist(), "rows": []}
    for one, act in enumerate(bench.progress(acts, "mixed")):
        test, outcome = sample(act, np.arange(MIXED_USERS) % 2 == 0, np.random.default_rng([29, one]))
        gap = index_of(MAIN, one).gap(test, outcome, past)
        index = gap.index
        out["rows"].append(
            [
                *(index.effect, index.se, index.uncorrected, index.residual_sd, index.unexplained, index.share),
                *(gap.effect, gap.se, gap.direct, gap.direct_se, traces.truth(act, TRUTH_USERS // 20, one)[0]),
            ]
        )
    return out


def agreement_study(bench):
    """Effects of many tests on the outcome and on each surrogate after each of the days."""
    rng = np.random.default_rng(31)
    kinds, acts = traces.drawn_acts(TESTS, rng, STRENGTH)
    past = traces.lived(traces.Act(), np.zeros(PAST_USERS, bool), rng)
    surrogates = readers(past.days, service.before(past.before), DAYS)
    treated, nobody = np.arange(TEST_USERS) % 2 == 0, np.zeros(TEST_USERS, int)
    out = {"kind": kinds.tolist(), "truth": [], OUTCOME: [], **{name: [] for name in surrogates}}
    for one, act in enumerate(bench.progress(acts, "agreement")):
        users = traces.lived(act, treated, np.random.default_rng([31, one]))
        known = service.before(users.before)
        values = {OUTCOME: users.outcome} | {name: read(users.days, known) for name, read in surrogates.items()}
        for name, its in values.items():
            told = effects_by_test(nobody, treated, its)
            out[name].append([told.effect[0].tolist(), told.se[0].tolist()])
        out["truth"].append(traces.truth(act, TRUTH_USERS // 20, one)[0])
    return out


def service_study(world, seed, users, settings, bench):
    """The same for rankers in a simulated service, with the reward model trained on the log before.

    All users are lived twice, with the ranker and without it, under the same luck. A test puts a random half of them
    in either arm, again and again.
    """
    lived = service.Lived(world, seed, users, settings)
    past, past_before = lived.past_traces()
    surrogates = readers(past, past_before, SERVICE_DAYS)
    function = lived.reward_model()

    def read(policy):
        lives = lived.lives(policy)
        told = {name: it(lives.days, lived.history[1]) for name, it in surrogates.items()}
        told |= {MODEL: lived.read(function, lives, SERVICE_DAYS), OUTCOME: lives.days.sum(1)}
        return told, lives.expected

    control, without = read(logging_policy(lived.service))
    rng, n = np.random.default_rng([seed, 41]), len(lived.entered)
    treated = rng.permuted(np.tile(np.arange(n) % 2 == 0, (HALVES, 1)), axis=1).ravel()
    half = np.repeat(np.arange(HALVES), n)
    out = {"past users": len(past), "users": n, "tests": []}
    for ranker, times in bench.progress(service.TESTS, f"service: {world}, seed {seed}"):
        told, expected = read(service.tilted(lived.service, ranker, times))
        test = {"name": f"{ranker} x {times}", "truth": (expected - without).mean()}
        test["truth se"] = (expected - without).std(ddof=1) / np.sqrt(n)
        for name, its in told.items():
            rows = np.where(treated.reshape(-1, n, *(1,) * (its.ndim - 1)), its, control[name])
            halves = effects_by_test(half, treated, rows.reshape(-1, *its.shape[1:]))
            gained = its - control[name]
            test[name] = [it.tolist() for it in (halves.effect, halves.se, gained.mean(0), gained.std(0) / np.sqrt(n))]
        out["tests"].append(test)
    return out


def told_index(kind, regression, study):
    """Rows of one kind of test."""
    truth = study["truth"]
    effect, se, uncorrected, worst, full, turning = np.array(study["found"]).T
    n = len(effect)
    error = effect - truth
    what = f"index, {kind}, {regression}"
    deviation = error.std(ddof=1)
    rows = [
        _row(what, "true effect", truth),
        _row(what, "bias", error.mean(), deviation / np.sqrt(n), {"uncorrected": float((uncorrected - truth).mean())}),
        _row(what, "standard error, told over seen", np.sqrt(np.mean(se**2)) / deviation),
        _row(what, "standard deviation, over the full test's", deviation / full.std(ddof=1)),
    ]
    holds = kind in traces.HOLD and regression == MAIN
    nothing = truth == 0
    missed = np.abs(error) > 1.96 * se
    if nothing:
        rows.append(_row(what, "rejected", *share_and_se(missed), goal=BANDS["rejected"]))
    else:
        rows.append(_row(what, "covered", *share_and_se(~missed), goal=BANDS["covered"] if holds else None))
        rows.append(_row(what, "direct effect that would turn the sign (residual sd), median", np.median(turning)))
    wide = np.abs(error) <= worst + 1.96 * se
    rows.append(_row(what, WIDENED, *share_and_se(wide), goal=BANDS[WIDENED] if regression == MAIN else None))
    rows.append(_row(what, "half width, plain", np.mean(1.96 * se)))
    rows.append(_row(what, "half width, widened by the bound", np.mean(worst + 1.96 * se)))
    return rows


def told_mixed(study):
    """Rows of the intervals of tests of many kinds."""
    table = np.array(study["rows"])
    truth, full, full_se, direct, direct_se = table[:, -1], *table[:, 6:10].T
    read = [IndexEffect(*values[:6]) for values in table]
    tests = len(read)
    plain = np.array([it.interval(LEVEL) for it in read])
    worst = np.array([it.interval(LEVEL, bias=it.worst_bias) for it in read])
    rows = [_row("mixed", "tests", tests), _row("mixed", "spread of true effects", truth.std(ddof=1))]
    waited = np.stack([full - 1.96 * full_se, full + 1.96 * full_se], axis=1)

    def tell(name, ends, goal=None):
        rows.append(_row("mixed", f"covered, {name}", *share_and_se(inside(ends, truth)), goal=goal))
        rows.append(_row("mixed", f"half width, {name}", np.mean(ends[:, 1] - ends[:, 0]) / 2))

    tell("full test", waited)
    tell("plain", plain)
    tell("widened by the bound", worst, BANDS[WIDENED])
    rng = np.random.default_rng(37)
    for known in KNOWN_TESTS:
        rates, widths, spreads = [], [], []
        for _ in range(SPLITS):
            order = rng.permutation(tests)
            past, others = order[:known], order[known:]
            learned = violations(direct[past], direct_se[past])
            ends = np.array([read[one].predictive_interval(LEVEL, learned) for one in others])
            rates.append(inside(ends, truth[others]).mean())
            widths.append(np.mean(ends[:, 1] - ends[:, 0]) / 2)
            spreads.append(learned.spread)
        name = f"widened by the spread of {known} past tests"
        se = np.sqrt(np.mean(rates) * (1 - np.mean(rates)) / tests)
        rows.append(_row("mixed", f"covered, {name}", np.mean(rates), se))
        rows.append(_row("mixed", f"half width, {name}", np.mean(widths)))
        rows.append(_row("mixed", f"spread (residual sd), {name}", np.mean(spreads), np.std(spreads)))
    return rows


def told_drawn(study):
    """Rows of the tests of users with habits."""
    what, truth = f"agreement, {traces.HORIZON_DAYS} days", np.array(study["truth"])
    names = (OUTCOME, SEEN, LINEAR, BOOSTED)
    effects = {name: Effects(*np.array(study[name]).swapaxes(0, 1)) for name in names}
    rows = told_agreement(what, effects, truth, DAYS, peer_day=14, resamples=RESAMPLES)
    for name in names[1:]:
        for column, day in enumerate(DAYS):
            rows += told_error(what, effects[name].effect[:, column], truth, f"{name}, day {day}", resamples=RESAMPLES)
    return rows


def told_service(world, studies):
    """Rows of the tests of rankers; a test and its halves are one cluster."""
    tests = [test for study in studies for test in study["tests"]]
    what, names = f"service, {world}, {service.HORIZON_DAYS} days", (OUTCOME, SEEN, LINEAR, BOOSTED, MODEL)
    truth = np.array([test["truth"] for test in tests])
    effects = {name: Effects(*(np.concatenate([test[name][at] for test in tests]) for at in (0, 1))) for name in names}
    cluster = np.repeat(np.arange(len(tests)), HALVES)
    rows = [_row(what, "users of a test", np.mean([study["users"] for study in studies]))]
    rows += [
        _row(what, f"true effect, {test['name']}", test["truth"], test["truth se"]) for test in studies[0]["tests"]
    ]
    rows += told_agreement(what, effects, np.repeat(truth, HALVES), SERVICE_DAYS, cluster=cluster, resamples=RESAMPLES)
    for name in names[1:]:
        for column, day in enumerate(SERVICE_DAYS):
            gained = np.array([test[name][2][column] for test in tests])
            rows += told_error(what, gained, truth, f"{name}, day {day}, same users in both arms", resamples=RESAMPLES)
    for column, day in enumerate(SERVICE_DAYS):
        apart = np.array([test[MODEL][2][column] - test[LINEAR][2][column] for test in tests])
        slope = apart @ truth / (truth @ truth)
        left_out = (apart @ truth - apart * truth) / (truth @ truth - truth**2)
        se = np.sqrt((len(tests) - 1) * left_out.var())
        rows.append(_row(what, f"slope on true effects, {MODEL} less {LINEAR}, day {day}", slope, se))
    return rows


def _row(what, metric, ours, se=None, peers=None, goal=None):
    """A row; ``goal`` says what was asked for and whether a number meets it."""
    words, holds = goal or (None, None)
    return result_row(what, metric, ours, se, peers, words, None if holds is None else holds(ours))


def inside(ends, values):
    return (ends[:, 0] <= values) & (values <= ends[:, 1])


def main(arguments=None):
    bench = Benchmark(globals(), SMOKE, cache="surrogates", width=140)
    bench.add("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    bench.add("--repetitions", type=int, default=300, help="of each kind of test")
    bench.add("--holding-repetitions", type=int, default=1000, help="of the one in which surrogacy holds")
    bench.add("--nothing-repetitions", type=int, default=2000, help="of the test that does nothing")
    bench.add("--world", default="clickbait", help="a name in conf/simulation/")
    bench.add("--seeds", type=int, default=2, help="of the service")
    bench.add("--users", type=int, default=2000, help="of the service")
    bench.add_settings()
    chosen = bench.parse(arguments)
    rows = []

    def known(name, compute, *told):
        return kept(chosen.cache / f"{name}.json", partial(compute, *told, bench))

    if "index" in chosen.studies:
        for kind in traces.CASES:
            for regression in REGRESSIONS if kind == traces.TOLD else [MAIN]:
                goal = {traces.NOTHING: chosen.nothing_repetitions, traces.TOLD: chosen.holding_repetitions}
                many = goal.get(kind, chosen.repetitions) if regression == MAIN else chosen.repetitions
                name = f"index {kind.replace('/', '-')} {regression} {many}"
                study = known(name, index_study, kind, regression, many)
                rows += told_index(kind, regression, study)
    if "mixed" in chosen.studies:
        rows += told_mixed(known("mixed", mixed_study))
    if "agreement" in chosen.studies:
        rows += told_drawn(known("agreement", agreement_study))
    if "service" in chosen.studies:
        studies = [
            known(
                f"service {chosen.world} {seed} {chosen.users}",
                *(service_study, chosen.world, seed, chosen.users, chosen.settings),
            )
            for seed in range(chosen.seeds)
        ]
        rows += told_service(chosen.world, studies)
    bench.finish(rows)


if __name__ == "__main__":
    main()
