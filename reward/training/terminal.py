"""The terminal of the command line."""

from __future__ import annotations

from typing import Any

from rich.console import Console


class Terminal(Console):
    """A console that another process makes anew where it is sent there, as a sweep's launcher does with its jobs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Terminal, ()


console = Terminal()


def say(text: str) -> None:
    """Print a sentence."""
    console.print(text, markup=False)
