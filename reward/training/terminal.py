"""The terminal of the command line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console


class Terminal(Console):
    """A console that another process makes anew where it is sent there, as a sweep's launcher does with its jobs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Terminal, ()


console = Terminal()


def own_warnings_only(say: Callable[[str], object]) -> None:
    """From here on say warnings of reward, a sentence each, and none of libraries; ``-W`` of Python shows them all."""
    if sys.warnoptions:
        return

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if category.__module__.partition(".")[0] == "reward":
            say(f"Warning: {message}")

    warnings.showwarning = show


def say(text: str) -> None:
    """Print a sentence."""
    console.print(text, markup=False)


def show_path(path: Path) -> None:
    """Print a path on a line of its own, for whoever reads it with a program."""
    console.print(str(path), soft_wrap=True, highlight=False, markup=False)


@contextmanager
def quiet(on: bool) -> Iterator[None]:
    """Print nothing in the block, where ``on``."""
    before = console.quiet
    console.quiet = before or on
    try:
        yield
    finally:
        console.quiet = before
