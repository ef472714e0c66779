"""Settings as nobody should give them, drawn at random over all of conf/, and what train.py makes of them.

    python tests/hostile_configs.py --configs 600 --seed 1
    python tests/hostile_configs.py --configs 0 --fitting 100

Each is composed and goes through all that train.py does before it trains, on a small log. It has to be refused in a
sentence, or to pass; of those that pass, the whole run is made of every ``--train-every``-th one (0: of none).
``--fitting`` draws values that the bounds of each setting admit, at their edges and inside, and makes the whole run of
each that passes: what is admitted has to do.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from small_run import SMALL_RUN  # noqa: E402

from reward.training.bounds import BOUNDS  # noqa: E402
from reward.training.kinds import Either, Kind, ListOf, Nothing, OneOf, Real, Text, Whole  # noqa: E402

BASE = [
    *(it for it in SMALL_RUN if not it.startswith("task.")),  # of a task that not every variant has
    "data.feedback=[click]",
    "data.end=2024-03-21",
    "trainer.max_epochs=1",
    "evaluation.intervals.resamples=5",
    "evaluation.boosting.max_trees=3",
]
VARIANTS: tuple[list[str], ...] = (
    [],
    ["consistency=td"],
    ["causal=neural"],
    ["encoder=mamba"],
    ["encoder=hstu"],
    ["task=[active_days,return_time,consumption]", "task.consumption.outcome.quantity=click"],
    ["task=[active_days,habit]", "task.taken_up.outcome.active_if=click", "task.back_after.outcome.scope=item"],
    ["task=[return_time]"],
)
VALUES = [
    *[
        "-1",
        "0",
        "1",
        "2",
        "3",
        "0.5",
        "-0.5",
        "1.5",
        "1e-300",
        "1e300",
        "-1e300",
        "nan",
        "inf",
        "-inf",
        "99999999999999999999",
        "1e9",
        "4294967296",
        "-0.0",
        "01",
        "1_000",
    ],
    *[
        "null",
        "true",
        "false",
        "text",
        "''",
        "[]",
        "[1]",
        "[-1]",
        "[nan]",
        "[[1]]",
        "{}",
        "{a:1}",
        "[a,a]",
        "[0,0]",
        "[3,2,1]",
        "0x10",
        "???",
        "é",
        "'\\u0000'",
    ],
    *[
        "click",
        "surface",
        "item_id",
        "nothing_of_the_kind",
        "2024-03-21",
        "Mars",
        "auto",
        "${seed}",
        "${nothing}",
        "${seed.deeper}",
        "${encoder}",
    ],
    *["reward.encoders.gru.GRU", "torch.nn.Linear", "builtins.dict", "os.system"],
    "' '",
    "'a b'",
]
GROUPS = [
    *["encoder", "head", "outcome", "objective", "causal", "propensities", "balance"],
    *["evaluation", "logger", "data", "split", "consistency", "also", "simulation"],
]
CHOICES = ("gruu", "gru", "trace", "", "null", "[gru,gru]", "..", "csv", "neural")
_TYPOS = ("", "=", "=a=b", "=[1,", "={", "='", "=a,b")


def hostile(draw: random.Random, paths: dict[str, object]) -> list[str]:
    """The overrides of one config: one to three settings that are as they should not be."""
    return [_one(draw, paths) for _ in range(draw.choice((1, 1, 1, 2, 3)))]


def _one(draw: random.Random, paths: dict[str, object]) -> str:
    path = draw.choice(list(paths))
    kind = draw.random()
    if kind < 0.62:  # a value of any sort, at any place
        return f"{path}={draw.choice(VALUES)}"
    if kind < 0.72:  # a number near the one that is there
        value = paths[path]
        number = value if isinstance(value, int | float) else 1
        return f"{path}={draw.choice((number * -1, number * 10**6, number + 0.5, number * 0, number / 3, number + 1))}"
    if kind < 0.82:  # a misspelt name
        at = draw.randrange(len(path))
        return f"{draw.choice(('', '+', '++'))}{path[:at]}{path[at + 1 :]}={draw.choice(VALUES)}"
    if kind < 0.9:  # a choice that there is not, or in the wrong place
        return f"{draw.choice(GROUPS)}={draw.choice(CHOICES)}"
    if kind < 0.96:  # something taken away or put in
        return draw.choice((f"~{path}", f"+{path}.more=1", f"++{path}={{more: 1}}", f"+{path}_more=1"))
    return draw.choice((*(f"{path}{typo}" for typo in _TYPOS), f"={path}", "=", "-x=1"))


def admitted(draw: random.Random, kind: Kind, now: object) -> str | None:
    """A value that a kind admits, near its lower edge, its upper one or what is there; None: it is of another sort."""
    if isinstance(kind, Either):
        found = [it for it in (admitted(draw, each, now) for each in kind.kinds) if it is not None]
        return draw.choice(found) if found else None
    if isinstance(kind, Nothing):
        return "null"
    if isinstance(kind, OneOf):
        return str(draw.choice(kind.values)).lower()
    if isinstance(kind, Whole):  # what is huge is only slow
        values = [kind.low, kind.low + 1, kind.low + 2, draw.randint(kind.low, kind.low + 30)]
        return str(draw.choice([it for it in values if kind.admits(it)]))
    if isinstance(kind, Real):
        here = float(now) if isinstance(now, int | float) else 1.0
        values = [
            kind.low,
            kind.high,
            kind.low + 1e-9,
            kind.high - 1e-9,
            here * draw.uniform(0.1, 10),
            here * 1e-6,
            1.0,
        ]
        return str(draw.choice([it for it in values if kind.admits(it)] or [None]))
    if isinstance(kind, ListOf) and not isinstance(kind.kind, Text):
        size = draw.choice((kind.least, kind.least + 1, kind.least + 2))
        values = [admitted(draw, kind.kind, now) for _ in range(size)]
        values = sorted(values, key=lambda it: float(it or 0)) if kind.rising else values
        return None if None in values else f"[{','.join(map(str, values))}]"
    return None


def fitting(draw: random.Random, paths: dict[str, object]) -> list[str]:
    """The overrides of one config: one to four settings with values that their bounds admit."""
    found = []
    while len(found) < draw.choice((1, 2, 4)):
        path = draw.choice(
            [it for it in paths if not it.startswith(("data", "simulation", "trainer.devices", "truth"))]
        )
        kind = BOUNDS.get(path) or BOUNDS.get(re.sub(r"^also\.[^.]*", "also.*", path))
        value = None if kind is None else admitted(draw, kind, paths[path])
        if value is not None:
            found.append(f"{path}={value}")
    return found


def leaves(node: object, path: str = "") -> dict[str, object]:
    """Every setting of a config, by its path, and the groups that hold them."""
    found: dict[str, object] = {}
    for name, value in node.items() if isinstance(node, dict) else ():
        here = f"{path}.{name}" if path else str(name)
        found[here] = value
        found |= leaves(value, here)
    return found


def outcome(overrides: list[str], folder: Path) -> tuple[str, str]:
    """What train.py makes of a command line before it trains: refused, passed, or a fault; and what it says."""
    from reward.training.assembly import Run, plain_values, prepare
    from reward.training.command_line import RefusedError, of_the_config, quoted, refusing, sentence
    from reward.training.defaults import composed
    from reward.training.folder import RunFolder
    from reward.training.settings import check_settings

    try:
        with refusing():
            try:
                config = composed("train", quoted(overrides))
            except Exception as error:
                if of_the_config(error):
                    raise RefusedError(sentence(error)) from error
                raise
            plain = plain_values(config)
            check_settings(plain)
            run = Run(config, plain, RunFolder.claim(folder, or_next=True), [])
            try:
                with_log = prepare(run)
                assert with_log.model is not None
            finally:
                run.folder.release()
    except RefusedError as error:
        return "refused", str(error)
    except Exception:
        return "fault", traceback.format_exc()
    return "passed", ""


def run_whole(overrides: list[str], folder: Path) -> tuple[int, str]:
    """The exit code of a whole run in a process of its own, and what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *overrides, f"hydra.run.dir={folder}"],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        timeout=900,
    )
    return done.returncode, done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--configs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train-every", type=int, default=0)
    parser.add_argument("--fitting", type=int, default=0, help="configs of values that will do; the whole run of each")
    parser.add_argument("--show", action="store_true", help="print what is said to each")
    told = parser.parse_args()
    os.environ["PYTHONWARNINGS"] = "ignore"
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        found = drawn(told.configs, told.seed, place, every=told.train_every, show=told.show)
        print("as they should not be:", dict(found))
        others = drawn(told.fitting, told.seed, place, every=1, show=told.show, generator=fitting)
    print("as their bounds admit:", dict(others))
    found += others
    raise SystemExit(bool(found["fault"] or found["lost"]))


def drawn(
    count: int,
    seed: int,
    place: Path,
    *,
    every: int = 0,
    show: bool = False,
    generator: Callable[[random.Random, dict[str, object]], list[str]] = hostile,
) -> Counter[str]:
    """How many of ``count`` configs were refused, passed, or showed a fault; faults are printed."""
    from omegaconf import OmegaConf

    from benchmarks.kill_and_resume import small_log
    from reward.training.defaults import composed

    small_log().write_parquet(place / "events.parquet")
    draw, found = random.Random(seed), Counter[str]()
    base = [*BASE, f"data.events={place / 'events.parquet'}"]
    paths = {}
    for variant in VARIANTS:
        config = OmegaConf.to_container(composed("train", [*base, *variant]))
        paths[tuple(variant)] = {path: it for path, it in leaves(config).items() if path != "data.events"}
    for number in range(count):
        variant = draw.choice(VARIANTS)
        extra = generator(draw, paths[tuple(variant)])
        what, said = outcome([*base, *variant, *extra], place / "run")
        found[what] += 1
        if what == "fault" or show:
            print(f"{number} {what}: {' '.join([*variant, *extra])}\n{said}", flush=True)
        if what == "passed" and every and found["passed"] % every == 0:
            code, printed = run_whole([*base, *variant, *extra], place / f"{generator.__name__}{number}")
            found["whole runs"] += 1
            if code or "Traceback" in printed or "Warning" in printed:
                found["lost"] += 1
                print(f"{number} lost: {' '.join([*variant, *extra])}\n{printed[-3000:]}", flush=True)
    return found


if __name__ == "__main__":
    main()
