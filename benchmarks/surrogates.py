"""May the first days of a test stand in for its last? The surrogate index where surrogacy holds and where it fails.

Three studies, each on tests whose true long-term effects are known.

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

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
from early import service, traces
from rich.console import Console
from rich.progress import track
from rich.table import Table
from worlds import ROOT, write_result

from reward.evaluation.surrogates.early import (
    Effects,
    agreement,
    auto_surrogate,
    decisions,
    effects_by_test,
)
from reward.evaluation.surrogates.index import (
    Experiment,
    IndexEffect,
    Past,
    SurrogateIndex,
    boosted,
    linear,
    violations,
)
from reward.writing import write_json

LEVEL, ALPHA, RESAMPLES = 0.95, 0.05, 1000
USERS = 2_000  # of the test, and as many of the past: study index
MIXED_TESTS, MIXED_USERS, MIXED_PAST, KNOWN_TESTS, SPLITS = 200, 4_000, 20_000, (10, 40), 500
TESTS, TEST_USERS, PAST_USERS = 300, 8_000, 20_000
STRENGTH = 0.3  # standard deviation of what a test adds to the logit of being active
DAYS = (1, 3, 7, 14, 21, 28, 42, 63)
SERVICE_DAYS = (1, 3, 7, 14, 21, 28)
TRUTH_USERS = 400_000
TREES = {"num_leaves": 8, "learning_rate": 0.1, "min_data_in_leaf": 30}
REGRESSIONS = {
    "linear": partial(linear, ridge=1e-4, degree=1),
    "quadratic": partial(linear, ridge=1e-4, degree=2),
    "LightGBM": partial(boosted, parameters=TREES, trees=60, num_threads=1, seed=0),
}
SEEN, LINEAR, BOOSTED, MODEL = "days seen so far", "linear auto-surrogate", "LightGBM auto-surrogate", "reward model"
OUTCOME = "outcome"
STUDIES = ("index", "mixed", "agreement", "service")
WIDENED = "covered, widened by the bound"
PEERS = {"consistent": {"Netflix, 14 of 63 days": 0.95}, "recall": {"Netflix, 14 of 63 days": 0.79}}
MAIN = "LightGBM"
BANDS = {
    "covered": ("0.93 to 0.97", lambda rate: 0.93 <= rate <= 0.97),
    "rejected": ("0.04 to 0.06", lambda rate: 0.04 <= rate <= 0.06),
    WIDENED: (">= 0.95", lambda rate: rate >= 0.95),
}


def index_of(name, seed):
    """The surrogate index by one of the regressions."""
    return SurrogateIndex(regression=REGRESSIONS[name](), folds=3, degree=2, ridge=1e-3, seed=seed)


def sample(act, treated, rng, first=0):
    """A test, and the outcomes that it would be waited for."""
    users = traces.lived(act, treated, rng)
    surrogates, covariates = traces.told(users, act)
    return Experiment(first + np.arange(len(treated)), surrogates, treated, covariates), users.outcome


def past_of(act, count, rng, first=0):
    """Users of before, whom nothing was done to."""
    users = traces.lived(traces.Act(left=act.left, hidden=act.hidden), np.zeros(count, bool), rng)
    surrogates, covariates = traces.told(users, act)
    return Past(first + np.arange(count), surrogates, users.outcome, covariates)


def index_study(kind, regression, repetitions, console):
    """Effects of one kind of test, drawn again and again, and the truth."""
    act = traces.CASES[kind]
    found = []
    for one in track(range(repetitions), f"index: {kind}, {regression}", console=console):
        rng = np.random.default_rng([17, list(traces.CASES).index(kind), one])
        test, outcome = sample(act, np.arange(USERS) % 2 == 0, rng)
        past = past_of(act, USERS, rng, first=USERS)
        told = index_of(regression, one).effect(test, past)
        full = effects_by_test(np.zeros(USERS, int), test.treated, outcome)
        found.append(
            [told.effect, told.se, told.uncorrected, told.worst_bias, float(full.effect[0]), told.turning_point]
        )
    return {"truth": traces.truth(act, TRUTH_USERS, 3)[0], "found": found}


def mixed_study(console):
    """Tests of many kinds, each read early, at the end, and as it truly is."""
    rng = np.random.default_rng(29)
    kinds, acts = traces.drawn_acts(MIXED_TESTS, rng, STRENGTH)
    past = past_of(traces.Act(), MIXED_PAST, rng, first=MIXED_USERS)
    out = {"kind": kinds.tolist(), "rows": []}
    for one, act in enumerate(track(acts, "mixed", console=console)):
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


def readers(past, before, days):
    """What tells a test's users after each of the days, by name: their days and what was before -> (n, K)."""

    def seen_so_far(seen, known):  # noqa: ARG001
        return np.stack([seen[:, :day].sum(1) for day in days], axis=1).astype(float)

    def auto(regression):
        each = [auto_surrogate(past, day, regression=REGRESSIONS[regression](), covariates=before) for day in days]
        return lambda seen, known: np.stack([one(seen, known) for one in each], axis=1)

    return {SEEN: seen_so_far, LINEAR: auto("linear"), BOOSTED: auto("LightGBM")}


def agreement_study(console):
    """Effects of many tests on the outcome and on each surrogate after each of the days."""
    rng = np.random.default_rng(31)
    kinds, acts = traces.drawn_acts(TESTS, rng, STRENGTH)
    past = traces.lived(traces.Act(), np.zeros(PAST_USERS, bool), rng)
    surrogates = readers(past.days, service.before(past.before), DAYS)
    treated, nobody = np.arange(TEST_USERS) % 2 == 0, np.zeros(TEST_USERS, int)
    out = {"kind": kinds.tolist(), "truth": [], OUTCOME: [], **{name: [] for name in surrogates}}
    for one, act in enumerate(track(acts, "agreement", console=console)):
        users = traces.lived(act, treated, np.random.default_rng([31, one]))
        known = service.before(users.before)
        values = {OUTCOME: users.outcome} | {name: read(users.days, known) for name, read in surrogates.items()}
        for name, its in values.items():
            told = effects_by_test(nobody, treated, its)
            out[name].append([told.effect[0].tolist(), told.se[0].tolist()])
        out["truth"].append(traces.truth(act, TRUTH_USERS // 20, one)[0])
    return out


def service_study(world, seed, users, console):
    """The same for rankers in a simulated service, with the reward model trained on the log before."""
    lived = service.Lived(world, seed, users)
    surrogates = readers(*lived.past_traces(), SERVICE_DAYS)
    progress = partial(track, description=f"service: {world}, seed {seed}", console=console)
    tests = lived.tests(lived.reward_model(), SERVICE_DAYS, progress)
    out = {"kind": [" x ".join(map(str, test)) for test in service.TESTS], "truth": tests.truth.tolist()}
    out |= {name: [] for name in (OUTCOME, *surrogates, MODEL)}
    nobody = np.zeros(tests.treated.shape[1], int)
    for treated, days, scores in zip(tests.treated, tests.days, tests.scores, strict=True):
        values = {OUTCOME: days.sum(1), MODEL: scores}
        values |= {name: read(days, tests.before) for name, read in surrogates.items()}
        for name, its in values.items():
            told = effects_by_test(nobody, treated, its)
            out[name].append([told.effect[0].tolist(), told.se[0].tolist()])
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
        row(what, "true effect", truth),
        row(what, "bias", error.mean(), deviation / np.sqrt(n), {"uncorrected": float((uncorrected - truth).mean())}),
        row(what, "standard error, told over seen", np.sqrt(np.mean(se**2)) / deviation),
        row(what, "standard deviation, over the full test's", deviation / full.std(ddof=1)),
    ]
    holds = kind in traces.HOLD and regression == MAIN
    nothing = truth == 0
    missed = np.abs(error) > 1.96 * se
    if nothing:
        rows.append(row(what, "rejected", *share(missed), goal=BANDS["rejected"]))
    else:
        rows.append(row(what, "covered", *share(~missed), goal=BANDS["covered"] if holds else None))
        rows.append(row(what, "direct effect that would turn the sign (residual sd), median", np.median(turning)))
    wide = np.abs(error) <= worst + 1.96 * se
    rows.append(row(what, WIDENED, *share(wide), goal=BANDS[WIDENED] if regression == MAIN else None))
    rows.append(row(what, "half width, plain", np.mean(1.96 * se)))
    rows.append(row(what, "half width, widened by the bound", np.mean(worst + 1.96 * se)))
    return rows


def told_mixed(study):
    """Rows of the intervals of tests of many kinds."""
    table = np.array(study["rows"])
    truth, full, full_se, direct, direct_se = table[:, -1], *table[:, 6:10].T
    read = [IndexEffect(*values[:6]) for values in table]
    tests = len(read)
    plain = np.array([it.interval(LEVEL) for it in read])
    worst = np.array([it.interval(LEVEL, bias=it.worst_bias) for it in read])
    rows = [row("mixed", "tests", tests), row("mixed", "spread of true effects", truth.std(ddof=1))]
    waited = np.stack([full - 1.96 * full_se, full + 1.96 * full_se], axis=1)

    def tell(name, ends, goal=None):
        rows.append(row("mixed", f"covered, {name}", *share(inside(ends, truth)), goal=goal))
        rows.append(row("mixed", f"half width, {name}", np.mean(ends[:, 1] - ends[:, 0]) / 2))

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
        rows.append(row("mixed", f"covered, {name}", np.mean(rates), se))
        rows.append(row("mixed", f"half width, {name}", np.mean(widths)))
        rows.append(row("mixed", f"spread (residual sd), {name}", np.mean(spreads), np.std(spreads)))
    return rows


def told_agreement(what, studies, days, peer_day=None):
    """Rows of decisions on each of the days, and of the effects beside the true ones; studies of the same names."""
    names = [name for name in (SEEN, LINEAR, BOOSTED, MODEL) if name in studies[0]]

    def effects(name):
        return Effects(*np.concatenate([np.array(study[name]) for study in studies]).swapaxes(0, 1))

    outcome, truth = effects(OUTCOME), np.concatenate([study["truth"] for study in studies])
    by_name = {name: effects(name) for name in names}
    launched = decisions(outcome, alpha=ALPHA)
    rows = [
        row(what, "tests", len(truth)),
        row(what, "up at the full horizon", *share(launched > 0)),
        row(what, "down at the full horizon", *share(launched < 0)),
        row(what, "launched at the full horizon, of the truly worthless", *share(launched[truth <= 0] > 0)),
    ]
    found = agreement(outcome, by_name, days, alpha=ALPHA, resamples=RESAMPLES, seed=0, level=LEVEL)
    for told in found.iter_rows(named=True):
        peers = PEERS.get(told["measure"], {}) if told["day"] == peer_day else {}
        metric = f"{told['measure']}, {told['surrogate']}, day {told['day']}"
        se = None if told["low"] is None else (told["high"] - told["low"]) / (2 * 1.96)
        rows.append(row(what, metric, told["value"], se, peers))
    spread, generator = truth.std(ddof=1), np.random.default_rng(0)
    drawn = generator.integers(len(truth), size=(RESAMPLES, len(truth)))
    for name, its in by_name.items():
        decided = decisions(its, alpha=ALPHA)
        for column, day in enumerate(days):
            error, wrong = its.effect[:, column] - truth, (decided[:, column] > 0) & (truth <= 0)
            size = np.sqrt(np.mean(error[drawn] ** 2, axis=1)) / spread
            label = f"{name}, day {day}"
            rows.append(
                row(
                    what, f"error over spread of true effects, {label}", np.sqrt(np.mean(error**2)) / spread, size.std()
                )
            )
            rows.append(row(what, f"launched, of the truly worthless, {label}", *share(wrong[truth <= 0])))
    return rows


def row(what, metric, ours, se=None, peers=None, goal=None):
    """A row of the result; ``goal`` says what was asked for and whether a number meets it."""
    ours = None if ours is None or not np.isfinite(ours) else float(ours)
    told = {"what": what, "metric": metric, "ours": ours, "se": None if se is None else float(se), "peers": peers or {}}
    return told | {"goal": goal and goal[0], "met": None if goal is None else bool(goal[1](ours))}


def share(hits):
    """A share and its standard error."""
    rate = float(np.mean(hits)) if len(hits) else np.nan
    return rate, float(np.sqrt(rate * (1 - rate) / max(len(hits), 1)))


def inside(ends, values):
    return (ends[:, 0] <= values) & (values <= ends[:, 1])


def kept(folder, name, compute):
    """What was computed before, or is now."""
    file = folder / f"{name}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, compute())
    return json.loads(file.read_text(encoding="utf-8"))


def show(rows, console):
    """A table for each study."""
    studies = dict.fromkeys(row["what"].partition(",")[0] for row in rows)
    for study in studies:
        table = Table("what", "metric", "value (standard error)", title=study)
        for told in rows:
            if told["what"].partition(",")[0] == study and told["ours"] is not None:
                mark = {True: f" ok: {told['goal']}", False: f" [red]no: {told['goal']}[/red]", None: ""}[told["met"]]
                se = "" if told["se"] is None else f" ({told['se']:.3f})"
                peers = "".join(f"; {name}: {value:.3g}" for name, value in told["peers"].items())
                table.add_row(told["what"], told["metric"], f"{told['ours']:.3f}{se}{peers}{mark}")
        console.print(table)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--repetitions", type=int, default=300, help="of each kind of test")
    parser.add_argument("--nothing-repetitions", type=int, default=2000, help="of the test that does nothing")
    parser.add_argument("--world", default="plain", help="a name in conf/simulation/")
    parser.add_argument("--seeds", type=int, default=2, help="of the service")
    parser.add_argument("--users", type=int, default=4000, help="of the service")
    parser.add_argument("--cache", type=Path, default=ROOT / "outputs" / "surrogates", help="what was computed")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "surrogates.json")
    chosen = parser.parse_args(arguments)
    console, rows = Console(width=max(Console().width, 140)), []
    if "index" in chosen.studies:
        for kind in traces.CASES:
            for regression in REGRESSIONS if kind == traces.TOLD else [MAIN]:
                many = chosen.nothing_repetitions if kind == traces.NOTHING else chosen.repetitions
                name = f"index {kind.replace('/', '-')} {regression} {many}"
                study = kept(chosen.cache, name, partial(index_study, kind, regression, many, console))
                rows += told_index(kind, regression, study)
    if "mixed" in chosen.studies:
        rows += told_mixed(kept(chosen.cache, "mixed", partial(mixed_study, console)))
    if "agreement" in chosen.studies:
        study = kept(chosen.cache, "agreement", partial(agreement_study, console))
        rows += told_agreement(f"agreement, {traces.HORIZON_DAYS} days", [study], DAYS, peer_day=14)
    if "service" in chosen.studies:
        studies = [
            kept(
                chosen.cache,
                f"service {chosen.world} {seed} {chosen.users}",
                partial(service_study, chosen.world, seed, chosen.users, console),
            )
            for seed in range(chosen.seeds)
        ]
        rows += told_agreement(f"service, {chosen.world}, {service.HORIZON_DAYS} days", studies, SERVICE_DAYS)
    show(rows, console)
    write_result(chosen.out, rows)


if __name__ == "__main__":
    main()
