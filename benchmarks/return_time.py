"""When will they be back? The stream network and its hazard head beside the classics, on the same waits.

Two parts:

* *cdnow*: the next purchase of each of 23,570 customers after a cut, in weeks, 13 of them. A model sees what was known
  at the cut; its settings are those with the largest likelihood at the cuts before that one, and the first cut serves
  only for that. Told are held-out log-likelihood, C-index and Brier score, and paired differences, with standard
  errors that draw customers.
* *kuairand*: the return after each event of the bundled log's test days, by `train.py task=[return_time]`
  and by LightGBM on the same rows and the same hazard: differences, with standard errors that draw
  users, seed by seed; and what train.py says of its own LightGBM baseline.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from harness import ROOT, TINY, WORLD, Benchmark, Row, Smoke, kept, result_row
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.markup import escape
from rich.progress import track
from waiting.buy_till_you_die import BG_NBD, PARETO_NBD
from waiting.customers import AGELESS, NAMES, RFM, Purchases, drawn, landmarks, read, waits
from waiting.events import Waits, waits_of_test_days
from waiting.forecasters import boosted_trees, buys_till_dead, cox, kaplan_meier, stream_network
from waiting.scores import C_INDEX, LOG_LIKELIHOOD, METRICS, OF, Measured, standard_error

import reward
from reward.data.split import split
from reward.data.validation import check
from reward.scoring.artifact import load
from reward.training.defaults import composed

SMOKE = Smoke(
    f"--parts cdnow kuairand --seeds 1 --settings {WORLD} {TINY} causal.personal=null "
    "evaluation.intervals.resamples=2 evaluation.boosting.max_trees=2 refit=none",
    SMALL=(40, 80),
)
SMALL = None  # customers and weeks of purchases that are drawn in the place of the real ones
CDNOW, KUAIRAND = "cdnow", "kuairand"
HORIZON = 13  # weeks: a quarter
CUTS = (26, 39, 52, 65)  # weeks: the ends of quarters; the first is there to choose settings on
OURS = "ours"
TREES = "LightGBM"
BETTER, NO_WORSE = "better than every peer", "no worse than LightGBM within the interval"
Floats = np.ndarray
Settings = dict[str, Any]
Rows = list[Row]


class Entry(NamedTuple):
    """A forecaster and the settings it is tried with."""

    forecast: Callable[..., Floats]
    settings: Sequence[Settings] = ({},)


COLUMNS = (RFM, NAMES, AGELESS)
NETWORK: Settings = {
    "context": AGELESS,
    "width": 32,
    "rate": 1e-2,
    "decay": 0.01,
    "dropout": 0.1,
    "lam": 1.0,
    "every": 1,
    "reach": 1,
    "epochs": 4,
    "average": [{"seed": 0}, {"seed": 1}],
}
LIBRARIES = {"Cox": "lifelines", TREES: "lightgbm"}
MODELS = {
    "Kaplan-Meier": Entry(kaplan_meier),
    "BG/NBD": Entry(partial(buys_till_dead, model=BG_NBD)),
    "Pareto/NBD": Entry(partial(buys_till_dead, model=PARETO_NBD)),
    "Cox": Entry(
        cox,
        [
            {"columns": columns, "penalizer": each, "every": HORIZON}
            for columns in COLUMNS
            for each in (0.003, 0.01, 0.03)
        ],
    ),
    TREES: Entry(
        boosted_trees,
        [
            {"columns": columns, "leaves": leaves, "trees": trees, "least": 500}
            for columns in COLUMNS
            for leaves, trees in ((7, 100), (7, 200), (15, 100))
        ],
    ),
    OURS: Entry(
        stream_network,
        [
            NETWORK,
            NETWORK | {"context": NAMES},
            NETWORK | {"average": [{"context": each, "seed": seed} for each in (AGELESS, NAMES) for seed in (0, 1)]},
            NETWORK | {"every": 4, "reach": HORIZON, "epochs": 8, "lam": 0.5},
        ],
    ),
}


def forecast(name: str, setting: Settings, purchases: Purchases, cut: int, cache: Path) -> Floats:
    """What a model forecast at a cut, from the cache if it is there; it is given what was known then.

    A setting's ``average`` are further settings, whose forecasts are averaged.
    """
    if "average" in setting:
        rest = {key: value for key, value in setting.items() if key != "average"}
        parts = [forecast(name, rest | part, purchases, cut, cache) for part in setting["average"]]
        return np.mean(parts, axis=0)
    told = json.dumps([name, cut, HORIZON, setting], sort_keys=True)
    file = cache / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz"

    def made() -> dict[str, Floats]:
        return {"survival": MODELS[name].forecast(purchases.before(cut), cut, HORIZON, **setting)}

    return kept(file, made)["survival"]


def came(purchases: Purchases, cut: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Customers who had bought before the cut, and what became of them: ``customer``, ``time`` and ``event``."""
    customer, week = landmarks(purchases.before(cut), np.array([cut]))
    return customer, *waits(purchases, customer, week, end=cut + HORIZON, horizon=HORIZON)


def chosen_for(likelihoods: Sequence[Mapping[int, float]], cut: int) -> int:
    """The setting, by its place, whose likelihood summed over the cuts that were over by ``cut`` is the largest."""
    return int(np.argmax([sum(each[past] for past in CUTS if past + HORIZON <= cut) for each in likelihoods]))


def judged(purchases: Purchases, names: Sequence[str], cache: Path) -> dict[str, dict[int, dict[str, Measured]]]:
    """Metrics by model and cut, each with the setting chosen for that cut."""
    outcome = {cut: came(purchases, cut)[1:] for cut in CUTS}
    out: dict[str, dict[int, dict[str, Measured]]] = {}
    for name in names:
        settings = MODELS[name].settings
        likelihoods: list[dict[int, float]] = [{} for _ in settings]
        if len(settings) > 1:
            for place, cut in track([(p, c) for p in range(len(settings)) for c in CUTS[:-1]], f"{name}: settings"):
                survival = forecast(name, settings[place], purchases, cut, cache)
                likelihoods[place][cut] = OF[LOG_LIKELIHOOD](survival, *outcome[cut]).value
        out[name] = {}
        for cut in track(CUTS[1:], f"{name}: forecasts"):
            place = chosen_for(likelihoods, cut) if len(settings) > 1 else 0
            survival = forecast(name, settings[place], purchases, cut, cache)
            out[name][cut] = {metric: of(survival, *outcome[cut]) for metric, of in OF.items()}
            if len(settings) > 1:
                out[name][cut] |= {"setting": Measured(place, np.zeros(0))}
    return out


def cdnow_rows(
    measured: Mapping[str, Mapping[int, Mapping[str, Measured]]], customers: Mapping[int, np.ndarray]
) -> Rows:
    """A row a cut and metric, and differences of ours to each peer: better is above 0 in all of them."""
    peers = [name for name in measured if name != OURS]
    rows: Rows = []
    for what, cuts in [*((f"CDNOW, week {cut}", [cut]) for cut in customers), ("CDNOW", list(customers))]:
        customer = np.concatenate([customers[cut] for cut in cuts])

        def over(metric: str, name: str, cuts: Sequence[int] = cuts) -> Measured:
            each = [measured[name][cut][metric] for cut in cuts]
            return Measured(
                float(np.mean([one.value for one in each])), np.concatenate([one.influence for one in each]) / len(cuts)
            )

        for metric in METRICS:
            ours, sign = over(metric, OURS), 1 if metric in (LOG_LIKELIHOOD, C_INDEX) else -1
            others = {name: over(metric, name) for name in peers}
            judged_here = what == "CDNOW" and sign > 0
            se, values = standard_error(ours.influence, customer), {name: each.value for name, each in others.items()}
            met = all(ours.value > each for each in values.values())
            rows.append(result_row(what, metric, ours.value, se, values, BETTER if judged_here else None, met))
            for name, each in others.items():
                better = sign * (ours.value - each.value)
                se = standard_error(sign * (ours.influence - each.influence), customer)
                rows.append(result_row(what, f"{metric}, better than {name} by", better, se))
    return rows


def kuairand(seed: int, cache: Path, settings: Sequence[str] = ()) -> tuple[Waits, dict[str, Any]]:
    """The waits of the bundled log's test days by `reward.fit`, and what that says of itself in metrics.json."""
    folder = cache / f"kuairand-{seed}"
    told = ["task=[return_time]", "logger=csv", f"seed={seed}", *settings]
    if not (folder / "metrics.json").is_file():
        reward.fit(settings=told, folder=folder)

    def waits() -> dict[str, Floats]:
        config = composed("train", told)
        log = check(instantiate(config.data)).log
        boosting = OmegaConf.to_container(config.evaluation.boosting)
        prior = config.calibration.prior_events
        window = split(log, **config.split)
        made = waits_of_test_days(load(folder / "reward"), log, window, boosting=boosting, prior=prior, seed=seed)
        return {"user": made.user, "time": made.time, "event": made.event, **made.survival}

    parts = kept(cache / f"kuairand-{seed}.npz", waits)
    found = Waits(*(parts.pop(name) for name in ("user", "time", "event")), parts)
    return found, json.loads((folder / "metrics.json").read_text())


def kuairand_rows(what: str, waits: Waits, assessment: Mapping[str, Any]) -> Rows:
    """Log-likelihood and C of ours and of the trees, what apart they are, and what `train.py` says of its own trees."""
    rows: Rows = []
    for metric in (LOG_LIKELIHOOD, C_INDEX):
        ours, trees = (OF[metric](waits.survival[name], waits.time, waits.event) for name in (OURS, TREES))
        better, se = ours.value - trees.value, standard_error(ours.influence - trees.influence, waits.user)
        own = standard_error(ours.influence, waits.user)
        met = better + 1.96 * se >= 0
        rows.append(result_row(what, metric, ours.value, own, {TREES: trees.value}, NO_WORSE, met))
        rows.append(result_row(what, f"{metric}, better than {TREES} by", better, se))
    for metric, end in (("log_loss", "low"), ("c_index", "high")):
        apart = assessment["differences"][TREES][metric]
        told = {name: assessment["metrics"][name][metric]["value"] for name in (assessment["model"], TREES)}
        ours, met = told.pop(assessment["model"]), apart[end] * (1 if end == "high" else -1) >= 0
        rows.append(result_row(what, f"{metric} by train.py", ours, None, told, NO_WORSE, met))
        for name in ("value", "low", "high"):
            rows.append(result_row(what, f"{metric} by train.py, ours - {TREES}, {name}", apart[name]))
    return rows


def told_of(value: float | None) -> str:
    """Four digits, or that there is no finite value."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.4f}"


def markdown(rows: Rows) -> str:
    """The table of docs/research/return_time.md: of each metric ours and the peers', and how much better ours is."""
    lines = []
    for what in dict.fromkeys(str(row["what"]) for row in rows):
        mine = {str(row["metric"]): row for row in rows if row["what"] == what}
        heads = [row for row in mine.values() if row["peers"]]
        names = [OURS, *heads[0]["peers"]]
        lines += ["", f"| {what} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for row in heads:
            values = [row["ours"], *row["peers"].values()]
            lines.append(f"| {row['metric']} | " + " | ".join(map(told_of, values)) + " |")
            apart = [mine.get(f"{row['metric']}, better than {name} by") for name in names[1:]]
            if all(apart):
                told = [
                    "–"
                    if each["ours"] is None or not np.isfinite(each["ours"])
                    else f"{each['ours']:+.4f} ({each['se']:.4f})"
                    for each in apart
                ]
                lines.append("| ours better by (standard error) | | " + " | ".join(told) + " |")
    return (
        "\n".join(lines[1:])
        .replace("-", "−")
        .replace("−−−", "---")
        .replace("Kaplan−Meier", "Kaplan-Meier")
        .replace("C−index", "C-index")
        .replace("log−l", "log-l")
        + "\n"
    )


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="return_time", width=140)
    bench.add("--data", type=Path, default=ROOT / "data", help="folder that holds cdnow/events.parquet")
    bench.add("--parts", nargs="+", choices=[CDNOW, KUAIRAND], default=[CDNOW, KUAIRAND])
    bench.add("--models", nargs="+", choices=list(MODELS), default=list(MODELS), help="of CDNOW")
    bench.add("--seeds", type=int, default=2, help="of KuaiRand; some minutes each")
    bench.add_settings()
    chosen = bench.parse(arguments)
    torch.set_num_threads(1)
    rows: Rows = []
    if CDNOW in chosen.parts:
        purchases = read(chosen.data) if SMALL is None else drawn(*SMALL)
        left_out = bench.without(LIBRARIES)
        names = [name for name in dict.fromkeys([*chosen.models, OURS]) if name not in left_out]
        measured = judged(purchases, names, chosen.cache)
        for name, by_cut in measured.items():
            places = {cut: int(each["setting"].value) for cut, each in by_cut.items() if "setting" in each}
            bench.say(name, {cut: MODELS[name].settings[place] for cut, place in places.items()})
        rows += cdnow_rows(measured, {cut: came(purchases, cut)[0] for cut in CUTS[1:]})
    if KUAIRAND in chosen.parts:
        for seed in bench.progress(range(chosen.seeds), "KuaiRand"):
            rows += kuairand_rows(f"KuaiRand, seed {seed}", *kuairand(seed, chosen.cache, chosen.settings))
    bench.finish(rows)
    bench.say(escape(markdown(rows)))


if __name__ == "__main__":
    main()
