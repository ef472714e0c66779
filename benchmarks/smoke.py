"""Runs every benchmark in little, one after the other: whether each still runs, and the processor seconds it takes."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

HERE = Path(__file__).parent
TOOLS = ("goals", "harness", "smoke", "training")  # files that measure nothing
APART = ("kill_and_resume",)  # forks, which a process that has read a frame must not


def names() -> list[str]:
    """The benchmarks: all files here that measure something."""
    return sorted({file.stem for file in HERE.glob("*.py")} - set(TOOLS))


def seconds() -> float:
    """Processor time of this process and of those that it waited for."""
    return sum(os.times()[:4])


@contextlib.contextmanager
def printed() -> Iterator[IO[str]]:
    """Keep back what is printed in the block, by this process and by those that it starts."""
    with TemporaryFile("w+", encoding="utf-8") as told:
        before = [os.dup(place) for place in (1, 2)]
        try:
            for place in (1, 2):
                os.dup2(told.fileno(), place)
            yield told
        finally:
            sys.stdout.flush()
            for place, there in zip((1, 2), before, strict=True):
                os.dup2(there, place)
                os.close(there)


def attempt(name: str) -> str | None:
    """Run a benchmark in little; what it printed and why it failed, or None where it did not."""
    if name in APART:
        command = [sys.executable, str(HERE / f"{name}.py"), "--smoke"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout if done.returncode else None
    why = None
    with printed() as told:
        try:
            importlib.import_module(name).main(["--smoke"])
        except SystemExit as ended:
            why = str(ended.code) if ended.code else None
        except Exception:
            why = traceback.format_exc()
        sys.stdout.flush()
        told.seek(0)
        return None if why is None else told.read() + why


def main(arguments: Sequence[str] | None = None) -> None:
    """Run those that are named, or all; exit with 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a benchmark; all where none is named")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(names()):
        parser.error(f"expected some of {', '.join(names())}; got {', '.join(sorted(unknown))}")
    failed, began = [], seconds()
    for name in chosen.names or names():
        before = seconds()
        wrong = attempt(name)
        print(f"{seconds() - before:6.1f} s  {name}{'' if wrong is None else ': failed'}", flush=True)
        if wrong is not None:
            failed.append(name)
            print(wrong, flush=True)
    print(f"{seconds() - began:6.1f} s  in all" + (f"; failed: {', '.join(failed)}" if failed else ""))
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
