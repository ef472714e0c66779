"""What is wrong with a command line, in one sentence: of the errors of the config system and of those of reward."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from reward.plain import near
from reward.training.defaults import conf_folder
from reward.training.renamed import RenamedError, of_today, setting
from reward.training.terminal import say

_ASSIGNED = re.compile(r"(?P<key>[+~]{0,2}[\w./@-]+)=(?P<value>[^'\"\[{$][^'\"]*=[^'\"]*)")
_CONFIG_ERRORS = ("hydra.", "omegaconf.", "antlr4.")


class JobError(ValueError):
    """A job of a sweep that was refused or failed; what was wrong has been printed."""


class RefusedError(ValueError):
    """Settings or a log that will not do, found before training; the message is what to say."""


@contextmanager
def refusing() -> Iterator[None]:
    """Turns what is found wrong before training into a `RefusedError` of one sentence."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError | TypeError) or type(error).__module__.startswith(_CONFIG_ERRORS):
            raise RefusedError(sentence(error)) from error
        raise


def quoted(arguments: Iterable[str]) -> list[str]:
    """A command line whose values may hold ``=``, as paths do: ``data.events=log/day=1`` → ``data.events='log/day=1'``.

    >>> quoted(["seed=1", "data.events=log/day=1/*.parquet", "--cfg=job"])
    ['seed=1', "data.events='log/day=1/*.parquet'", '--cfg=job']
    """
    found = []
    for argument in arguments:
        match = None if argument.startswith("-") else _ASSIGNED.fullmatch(argument)
        found.append(argument if match is None else f"{match['key']}='{match['value']}'")
    return found


@contextmanager
def in_one_sentence() -> Iterator[None]:
    """End the process with one sentence where the command line, the config or the log is wrong."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come through, and not as the library prints them
    try:
        sys.argv[1:] = quoted(of_today(sys.argv[1:], say))
        yield
    except (JobError, RenamedError) as error:
        raise SystemExit(str(error)) from error
    except Exception as error:
        if not of_the_config(error):
            raise
        raise SystemExit(sentence(error)) from error


def of_the_config(error: BaseException) -> bool:
    """Whether the config system raised an error, of its own or another."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))
    return type(error).__module__.startswith(_CONFIG_ERRORS) or f"{module}.".startswith(_CONFIG_ERRORS)


def sentence(error: BaseException) -> str:
    """What an error says to whoever gave the settings."""
    if isinstance(error, RefusedError):
        return str(error)
    name = type(error).__name__
    if name == "InstantiationException":
        where = re.search(r"full_key: (\S+)", str(error))
        cause = error.__cause__ or error
        if type(cause).__name__ == "SchemaError":
            return sentence(cause)
        return f"{where[1]}: {cause}" if where else _first(cause)
    if name == "OverrideParseException":
        return (
            f"{getattr(error, 'override', '')!r} cannot be read: expected name=value; a value with spaces, commas, "
            "braces, quotes or = is quoted twice, 'name=\"a, b\"'"
        )
    if name == "MissingConfigException":
        return _no_choice(error)
    if name == "ConfigCompositionException" and error.__cause__ is not None:
        return _no_key(error)
    if name in ("InterpolationToMissingValueError", "MissingMandatoryValue"):
        needed = str(error).splitlines()[0].rpartition(": ")[2]
        return f"{needed} expected a value, it was given none: set {needed}=..."
    if "group override must be" in str(error):
        return f"a group expected the name of a choice, as in encoder=gru, got none: {_first(error)}"
    if name == "InterpolationKeyError":
        match = re.search(r"'([\w.]+)'", str(error))
        if match and setting(match[1]) != match[1]:
            return f"${{{match[1]}}} is called ${{{setting(match[1])}}} now"
    if of_the_config(error):
        key = getattr(error, "full_key", None)
        return f"{key}: {_first(error)}" if key and key not in _first(error) else _first(error)
    return f"{name}: {error}"


def _first(error: BaseException) -> str:
    return str(error).partition("\n")[0].strip()


def _no_choice(error: Any) -> str:
    group, _, choice = str(error.missing_cfg_file or "").rpartition("/")
    options = list(error.options or sorted(file.stem for file in (conf_folder() / group).glob("*.yaml")))
    if not group or not options:
        return _first(error)
    return f"{group}={choice} is no choice{near(choice, options)}: expected one of {', '.join(options)}"


def _no_key(error: BaseException) -> str:
    """Of a name that the config does not have."""
    match = re.match(r"Could not (?:override|append to config|delete from config)[^']*'([^']*)'", _first(error))
    cause: Any = error.__cause__
    parent = getattr(cause, "parent_node", None)
    if match is None:
        return _first(error)
    if setting(match[1]) != match[1]:
        return f"there is no setting {match[1]}: it is called {setting(match[1])} now"
    path, known = match[1], [] if parent is None or not hasattr(parent, "keys") else [str(key) for key in parent.keys()]  # noqa: SIM118
    inside = str(getattr(cause, "full_key", ""))  # of a table of settings, the one that is not there
    path = inside if inside.startswith(f"{path}.") else path
    where, _, name = path.rpartition(".")
    if not known or name in known:
        return f"{path}: {_first(cause)}"
    among = f"{where} has {', '.join(known)}" if where else f"there are {', '.join(known)}"
    return f"there is no setting {path}{near(name, known)}: {among}"
