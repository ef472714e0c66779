"""What do the encoders cost, and how well do they forecast? All of one width, side by side.

Two parts:

* *cost*: processor time and peak memory of training (read a batch, ask two queries an event, go back through both)
  and of scoring (candidates that share one reading), by length of the history, as ratios to the transformer's. A case
  is measured in a process of its own; rounds follow each other with the encoders side by side, and the standard error
  is that over rounds.
* *forecast*: validation loss on the bundled log with the settings of conf/, best epoch, as differences to the
  transformer's of the same seed. Nothing here sees a test day.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import TINY, WORLD, Benchmark, Row, Smoke, kept, mean_and_se, result_row
from hydra.utils import instantiate
from rich.progress import track
from scale import peak_mib
from training import choice_of, trained

from reward.data.split import split
from reward.data.validation import check
from reward.encoders import Encoder
from reward.training.defaults import composed

SMOKE = Smoke(
    f"--lengths 8 --rounds 1 --seeds 1 --settings {WORLD} {TINY}",
    ROWS=32,
    CANDIDATES=(1, 3),
    LEAST_SECONDS=0.01,
)
COST, FORECAST = "cost", "forecast"
BASE = "transformer"
ENCODERS = (BASE, "gru", "hstu", "mamba")
WIDTH, LAYERS = 64, 2  # of all of them, for the costs
ROWS = 8192  # events of a batch
LEAST_SECONDS = 0.5  # that are measured of a case
USERS = 8  # whose candidates are scored at once
LENGTHS, CANDIDATES = (16, 64, 256, 1024), (1, 100, 1000)
Rows = list[Row]


def built(name: str) -> Encoder:
    """The encoder of ``conf/encoder/name.yaml`` at the common width."""
    torch.manual_seed(0)
    return instantiate(choice_of("encoder", name), width=WIDTH, layers=LAYERS)


def drawn(batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and hours of histories."""
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randn(batch, length, WIDTH, generator=generator)
    return tokens, torch.rand(batch, length, generator=generator).mul(24).cumsum(1)


def training(encoder: Encoder, length: int) -> None:
    """Read a batch, ask two queries an event, and go back through both."""
    tokens, hours = drawn(ROWS // length, length)
    visible = torch.arange(length).expand_as(hours).repeat(1, 2)
    memory = encoder.read(tokens, hours)
    asked = encoder.query(memory, tokens.repeat(1, 2, 1), hours.repeat(1, 2), visible)
    (memory.states.square().mean() + asked.square().mean()).backward()


def seconds_of(work: Callable[[], object]) -> float:
    """Processor time of one call: the median of some, or of the first one if that takes long."""
    spent: list[float] = []
    while sum(spent) < LEAST_SECONDS or len(spent) < 2:
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
        if spent[0] > 4 * LEAST_SECONDS:
            break
    return float(np.median(spent[1:] or spent))  # the first one warms up


def measure(name: str, length: int) -> dict[str, float]:
    """Costs of one encoder at one length, by metric; of the process, so call it in a fresh one."""
    torch.set_num_threads(1)
    encoder = built(name)
    before = peak_mib()
    out = {"training, seconds": seconds_of(partial(training, encoder, length))}
    out["training, MiB"] = peak_mib() - before
    with torch.no_grad():
        encoder.eval()
        tokens, hours = drawn(USERS, length)
        out["reading, seconds"] = seconds_of(partial(encoder.read, tokens, hours))
        memory = encoder.read(tokens, hours)
        out["memory, numbers an event"] = float(sum(layer.shape[-1] for layer in memory.layers))
        for candidates in CANDIDATES:
            visible = torch.full((USERS, candidates), length)
            asked = torch.randn(USERS, candidates, WIDTH), hours[:, -1:].expand(USERS, candidates) + 1, visible
            out[f"{candidates} candidates, seconds"] = seconds_of(partial(encoder.query, memory, *asked))
    return out


def apart(name: str, length: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as process:
        return process.apply(measure, (name, length))


def costs(lengths: list[int], rounds: int) -> Rows:
    """Ratios to the transformer's costs, and what these are."""
    rows: Rows = []
    for length in track(lengths, "costs ..."):
        found = [{name: apart(name, length) for name in ENCODERS} for _ in range(rounds)]
        for metric in found[0][BASE]:
            values = np.array([[one[name][metric] for name in ENCODERS] for one in found])
            rows.append(_row(f"length {length}", f"{metric}, {BASE}", values[:, 0]))
            for name, ratio in zip(ENCODERS[1:], (values / values[:, :1]).T[1:], strict=True):
                rows.append(_row(f"length {length}", f"{metric}, {name} / {BASE}", ratio))
    return rows


def forecast(name: str, seed: int, settings: Sequence[str] = ()) -> dict[str, float]:
    """Validation loss of the best epoch of a training run on the bundled log, and its processor time."""
    config = composed("train", [f"encoder={name}", f"seed={seed}", *settings])
    log = check(instantiate(config.data)).log
    window = split(log, **config.split)
    began = time.process_time()
    made = trained(config, log, window)
    parameters = sum(each.numel() for each in made.function.network.encoder.parameters())
    return {
        "validation loss": made.loss,
        "training, processor seconds": time.process_time() - began,
        "parameters of the encoder": float(parameters),
    }


def forecasts(seeds: int, cache: Path, settings: Sequence[str] = ()) -> Rows:
    """Validation losses by encoder, and their differences to the transformer's of the same seed."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ENCODERS}
    for seed, name in track([(seed, name) for seed in range(seeds) for name in ENCODERS], "forecasts ..."):
        found[name].append(kept(cache / f"{name}-{seed}.json", partial(forecast, name, seed, settings)))
    rows: Rows = []
    for metric in found[BASE][0]:
        values = {name: np.array([one[metric] for one in found[name]]) for name in ENCODERS}
        rows += [_row("bundled log", f"{metric}, {name}", values[name]) for name in ENCODERS]
        if metric == "validation loss":
            differences = {name: values[name] - values[BASE] for name in ENCODERS[1:]}
            rows += [_row("bundled log", f"{metric}, {name} - {BASE}", each) for name, each in differences.items()]
    return rows


def _row(what: str, metric: str, values: np.ndarray) -> Row:
    return result_row(what, metric, *mean_and_se(values))


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="encoders")
    bench.add("--parts", nargs="+", choices=[COST, FORECAST], default=[COST, FORECAST])
    bench.add("--lengths", nargs="+", type=int, default=LENGTHS, help="events of a history")
    bench.add("--rounds", type=int, default=2, help="of the costs; some two minutes each")
    bench.add("--seeds", type=int, default=2, help="of the forecasts; two or three minutes a run")
    bench.add_settings()
    chosen = bench.parse(arguments)
    rows = costs(list(chosen.lengths), chosen.rounds) if COST in chosen.parts else []
    rows += forecasts(chosen.seeds, chosen.cache, chosen.settings) if FORECAST in chosen.parts else []
    bench.finish(rows)


if __name__ == "__main__":
    main()
