"""Hostile arguments: what every public function of a room is given, and what it may answer.

A function is told by one sound call. Each of its arguments is then replaced, one at a time, by what no caller should
pass and some do: NaN, infinity, too large, too small, empty, of another shape or kind. It may answer with finite
numbers or with an error of the library's own, one sentence that says what was expected.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re

import numpy as np
import polars as pl
import torch

NUMBERS = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e308, 5e-324)
COUNTS = (-1, 0)
OWN = re.compile(r"expected|must |at least|need|cannot|refus|between 0 and 1|already|no effect")


def public(package):
    """Functions and checked dataclasses that the modules of a package define and do not hide."""
    root = importlib.import_module(package)
    names = [package] + [each.name for each in pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}.")]
    for module in map(importlib.import_module, names):
        for name, thing in vars(module).items():
            mine = getattr(thing, "__module__", None) == module.__name__ and not name.startswith("_")
            checked = inspect.isclass(thing) and dataclasses.is_dataclass(thing) and hasattr(thing, "__post_init__")
            if mine and (inspect.isfunction(thing) or checked):
                yield f"{module.__name__}.{name}", thing


def hostile(value):
    """Names and values of what may stand in the place of a sound argument."""
    if isinstance(value, bool | str) or value is None or callable(value):
        return
    if isinstance(value, int):
        yield from ((repr(each), each) for each in COUNTS)
    elif isinstance(value, float):
        yield from ((repr(each), each) for each in NUMBERS)
    elif isinstance(value, list | tuple) and value and all(isinstance(each, int | float) for each in value):
        yield from _arrays(np.asarray(value, float))
    elif isinstance(value, np.ndarray):
        yield from _arrays(value)
    elif isinstance(value, torch.Tensor):
        yield "empty", value[:0]
        yield "one dimension more", value.unsqueeze(-1)
    elif isinstance(value, dict) and value and all(isinstance(each, float) for each in value.values()):
        first = next(iter(value))
        yield from ((f"{first} is {each}", value | {first: each}) for each in NUMBERS)
        yield "empty", {}
    elif isinstance(value, pl.DataFrame):
        yield from _frames(value)


def _arrays(sound):
    yield "empty", sound[:0]
    yield "one dimension more", sound[..., None]
    yield "one dimension less", sound.ravel()[0]
    yield "one row less", sound[:-1]
    if sound.dtype.kind == "f":
        for each in NUMBERS:
            with_one = sound.copy()
            with_one.flat[0] = each
            yield f"{each} first", with_one
            yield f"{each} everywhere", np.full_like(sound, each)
        yield "times 1e200", sound * 1e200
        yield "times 1e-200", sound * 1e-200
        yield "plus 1e9", sound + 1e9
    elif sound.dtype.kind in "iu":
        if sound.dtype.kind == "i":
            yield "below 0", sound - 1_000
        yield "as large as can be", np.full_like(sound, np.iinfo(sound.dtype).max)
        yield "as floats", sound + 0.5
    elif sound.dtype.kind == "b":
        yield "none", np.zeros_like(sound)
        yield "all", np.ones_like(sound)
        yield "as numbers", sound.astype(float)


def _frames(sound):
    yield "empty", sound.clear()
    for name, kind in sound.schema.items():
        yield f"without {name}", sound.drop(name)
        yield f"{name} null", sound.with_columns(pl.lit(None, kind).alias(name))
        if kind.is_float():
            first = pl.int_range(pl.len()) == 0
            for each in NUMBERS:
                yield f"{name} {each} first", sound.with_columns(pl.when(first).then(each).otherwise(name).alias(name))
                yield f"{name} {each} everywhere", sound.with_columns(pl.lit(each).alias(name))
            yield f"{name} times 1e200", sound.with_columns(pl.col(name) * 1e200)
            yield f"{name} plus 1e9", sound.with_columns(pl.col(name) + 1e9)
            yield f"{name} as text", sound.with_columns(pl.lit("se").alias(name))
        elif kind.is_integer():
            yield f"{name} below 0", sound.with_columns(-pl.col(name) - 1)


def answer(call):
    """None where the answer is fit to be seen; otherwise what is wrong with it."""
    try:
        found = call()
    except (ValueError, TypeError) as error:  # SchemaError is a ValueError
        told = str(error)
        return None if OWN.search(told) and len(told) > 20 else f"{type(error).__name__}: {told}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    odd = [each for each in _numbers(found) if not np.isfinite(each).all()]
    return f"not finite: {odd[0]}" if odd else None


def _numbers(found):
    """All floats of a result."""
    if isinstance(found, pl.DataFrame):
        yield from (found[name].drop_nulls().to_numpy() for name, kind in found.schema.items() if kind.is_float())
    elif isinstance(found, np.ndarray) and found.dtype.kind == "f":
        yield found
    elif isinstance(found, float):
        yield np.float64(found)
    elif isinstance(found, torch.Tensor) and found.is_floating_point():
        yield found.detach().numpy()
    elif dataclasses.is_dataclass(found):
        for field in dataclasses.fields(found):
            yield from _numbers(getattr(found, field.name))
    elif isinstance(found, dict):
        for each in found.values():
            yield from _numbers(each)
    elif isinstance(found, tuple | list):
        for each in found:
            yield from _numbers(each)


def faults(function, sound, *, may_be_endless=()):
    """What is wrong with a function's answers, a line an argument that was replaced.

    Args:
        function: to call.
        sound: its arguments by name.
        may_be_endless: parts of names of replacements whose answer may be infinite or NaN by the function's own words.
    """
    assert not (wrong := answer(lambda: function(**sound))), f"the sound call: {wrong}"
    told = []
    for name, value in sound.items():
        for what, other in hostile(value):
            wrong = answer(lambda name=name, other=other: function(**sound | {name: other}))
            if wrong and not (
                wrong.startswith("not finite") and any(each in f"{name} {what}" for each in may_be_endless)
            ):
                told.append(f"{name} {what}: {wrong:.200}")
    return told
