"""python -m reward: score a log with a saved scoring function, draw what it predicts of a user, or see a demo."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import torch
from rich.console import Console
from rich.progress import track

from reward.causal.diagnostics.summary import EffectSummary, no_push
from reward.columns import USER
from reward.data.event_log import SchemaError, reading
from reward.data.files import scan
from reward.outcomes.protocol import Outcome
from reward.scoring.artifact import ArtifactError, load
from reward.scoring.function import RewardFunction
from reward.scoring.partitioned import score_parquet
from reward.training.terminal import own_warnings_only
from reward.writing import whole

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m reward", description="Score a log with a learned reward.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_score(commands)
    _add_draw(commands)
    _add_demo(commands)
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        return int(options.run(options, console))
    except (ArtifactError, SchemaError, ValueError, OSError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)
        return 2


def _add_score(commands: _Commands) -> None:
    score = commands.add_parser(
        "score",
        help="write a log's rows with their values and rewards",
        description="Writes the log's rows, in their order, with value_before, value_exposed, value_after, reward and "
        "reward_std in the artefact's unit.",
    )
    score.add_argument(
        "--artifact", required=True, help="folder, hf://org/name[@rev] or wandb://entity/project/name:alias"
    )
    score.add_argument(
        "--events", required=True, help="parquet file, folder, glob or object-store URL, in the log's schema"
    )
    score.add_argument("--out", required=True, type=_file_to_write, help="parquet file to write, whole or not at all")
    score.add_argument("--items", help="parquet with features of items that the artefact does not know")
    score.add_argument(
        "--as-of",
        type=_moment,
        metavar="TIME",
        help="also write value_as_of: what was known of each row's outcome at this moment (ISO 8601, else UTC)",
    )
    score.add_argument(
        "--history-start",
        type=date.fromisoformat,
        metavar="DATE",
        help="first day the log covers; the training log's if left out",
    )
    score.add_argument(
        "--tasks", nargs="+", default=[], metavar="NAME", help="other tasks of the artefact whose outcomes to predict"
    )
    score.add_argument("--also", nargs="+", default=[], help=argparse.SUPPRESS)  # the name of --tasks before
    score.add_argument("--habit", metavar="SCOPE", help="also write the reward of bringing up an item, creator or show")
    score.add_argument("--device", default="cpu", help="where torch scores, such as cuda; cpu if left out")
    score.set_defaults(run=_score)


def _add_draw(commands: _Commands) -> None:
    draw = commands.add_parser(
        "draw",
        help="draw the predicted distributions of one user's outcomes",
        description="Draws, as SVG, how probable each number of active days is for one user after the log's last "
        "event, and each value of the outcomes of its other tasks.",
    )
    draw.add_argument("--artifact", required=True, help="as for score")
    draw.add_argument("--events", required=True, help="as for score; the other users' rows are not needed")
    draw.add_argument("--user", required=True, help="user_id")
    draw.add_argument("--out", required=True, type=_file_to_write, help="SVG file to write, whole or not at all")
    draw.add_argument("--items", help="as for score")
    draw.add_argument("--history-start", type=date.fromisoformat, metavar="DATE", help="as for score")
    draw.set_defaults(run=_draw)


def _add_demo(commands: _Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="learn rewards in a simulated world, and let a ranker trained on them loose: about a minute",
        description="Simulates a small service whose true effects are known, learns rewards from its log, holds them "
        "against the truth, and counts the days of return that rankers trained on clicks, on the rewards and on the "
        "true effects bring. Writes a picture, demo.svg, every figure, demo.json, the scoring function, reward/, and "
        "the log, events.parquet. About a minute on two cores.",
    )
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder to write; demo if left out")
    demo.add_argument("--seed", type=int, help="of the world and all that is drawn; 1 if left out")
    demo.set_defaults(run=_demo)


def _file_to_write(text: str) -> Path:
    if not text or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a file to write, got {f'the folder {text}' if text else 'nothing'}")
    return Path(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"expected a moment of the years 1 to 9999 in UTC, such as 2024-03-01T12:00+01:00, got {text}"
        ) from error


def _events_of(user: str, place: str) -> pl.DataFrame:
    """A user's rows of the log at ``place``."""
    events = scan("--events", place)
    schema = events.collect_schema()
    if USER not in schema:
        columns = ", ".join(schema) or "none"
        raise SchemaError(
            f"--events {place} has no column {USER!r}; its columns are {columns}: rename that of the users"
        )
    if schema[USER].is_nested() or schema[USER] == pl.Binary:
        raise SchemaError(f"--events {place} has {USER!r} as {schema[USER]}: expected integers or strings, cast it")
    with reading(f"--events {place}"):
        own = events.filter(pl.col(USER).cast(pl.String) == user).collect()
    if own.is_empty():
        raise SchemaError(f"--user {user}: expected a user of the log, {place} has no event of theirs")
    return own


def _items(options: argparse.Namespace) -> pl.DataFrame | None:
    if options.items is None:
        return None
    with reading(f"--items {options.items}"):
        return scan("--items", options.items).collect()


def _draw(options: argparse.Namespace, console: Console) -> int:
    from reward.report.figures import distributions_picture

    function = load(options.artifact)
    if not isinstance(function, RewardFunction):
        raise ArtifactError(f"{options.artifact} is a {type(function).__name__}, which predicts no outcome to draw")
    own, items = _events_of(options.user, options.events), _items(options)
    told: list[tuple[str | None, Outcome]] = [(None, function.outcome), *function.auxiliary.items()]
    more = {"items_table": items, "history_start": options.history_start}
    panels = [(name or "outcome", it.counted, function.distribution(own, name, **more)) for name, it in told]
    with whole(options.out) as scratch:
        scratch.write_text(distributions_picture(panels, title=f"user {options.user}"), encoding="utf-8")
    console.print(f"{len(panels)} outcomes of user {options.user} drawn in {options.out}", markup=False, soft_wrap=True)
    return 0


def _demo(options: argparse.Namespace, console: Console) -> int:
    from reward.simulation.demo import default_settings, demo

    settings = default_settings()
    seed = settings["demo"]["seed"] if options.seed is None else options.seed
    if seed < 0:
        raise ValueError(f"--seed {seed} expected a whole number of at least 0")
    began = time.perf_counter()

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        start = time.perf_counter()
        with console.status(f"{name} ..."):
            yield
        console.print(f"{name}: {time.perf_counter() - start:.1f} s", highlight=False)

    found = demo(options.out, seed=seed, phase=phase, settings=settings)
    console.print(
        f"{found.rows:,} events of {found.users:,} users on {found.items:,} items over {found.days} days, seed {seed}; "
        f"{time.perf_counter() - began:.0f} s in all",
        highlight=False,
    )
    for sentence in found.sentences():
        console.print(sentence, highlight=False, markup=False)
    console.print("picture, scoring function and log:", highlight=False)
    print(options.out / "demo.svg")
    return 0


def _device(name: str) -> torch.device:
    """A device that is there."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device {name} expected a device that torch can use here, such as cpu: {reason}") from error
    return device


def _score(options: argparse.Namespace, console: Console) -> int:
    if options.also:
        console.print("--also is called --tasks now", highlight=False)
    function = load(options.artifact).to(_device(options.device))

    def progress(parts: Sequence[Any]) -> Iterable[Any]:
        return track(parts, "scoring", console=console)

    scored = score_parquet(
        function,
        scan("--events", options.events),
        options.out,
        tasks=list(dict.fromkeys([*options.tasks, *options.also])),
        habit=options.habit,
        as_of=options.as_of,
        items_table=_items(options),
        history_start=options.history_start,
        progress=progress,
    )
    console.print(
        f"{scored.rows:,} events of {scored.users:,} users scored in {function.unit}; {scored.unknown:,} "
        f"show items that training did not know; written to {options.out}",
        markup=False,
        soft_wrap=True,
    )
    if (caution := caution_of(function)) is not None:
        console.print(caution, markup=False, soft_wrap=True)
    return 0


def caution_of(function: object) -> str | None:
    """What to say beside the rewards of a function whose verdict on effects does not carry them."""
    if not isinstance(function, RewardFunction) or function.effects is None or not function.facts.get("effects"):
        return None
    why = no_push(EffectSummary.from_json(function.facts["effects"]))
    return None if why is None else f"Warning: do not act on these rewards: {why}"


if __name__ == "__main__":
    own_warnings_only(partial(Console(stderr=True).print, markup=False, soft_wrap=True))
    sys.exit(main())
