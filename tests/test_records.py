"""Dataclasses as JSON and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import pytest

from reward.records import Kept, from_json, to_json


class Point(NamedTuple):
    x: float
    y: float = 0.5


@dataclass(frozen=True)
class Spread:
    low: float
    high: float

    derived = ("width",)

    @property
    def width(self):
        return self.high - self.low


@dataclass(frozen=True)
class Whole:
    name: Annotated[str, Kept("called")]
    spread: Annotated[Spread, Kept(flat=True)]
    kind: Literal["a", "b"]
    at: Point
    days: tuple[int, ...] = ()
    pair: tuple[float, float] | None = None
    shares: Mapping[float, float | None] = None  # type: ignore[assignment]
    parts: Annotated[tuple[Spread, ...], Kept(omit_empty=True)] = ()
    found: str | int | None = None
    anything: object = None


WHOLE = Whole("x", Spread(0.0, 1.5), "a", Point(1.0), (1, 2), (0.5, 2.0), {0.05: None, 0.5: 1.0}, found=3, anything=[1])
SAVED = {
    "called": "x",
    "low": 0.0,
    "high": 1.5,
    "width": 1.5,
    "kind": "a",
    "at": {"x": 1.0, "y": 0.5},
    "days": [1, 2],
    "pair": [0.5, 2.0],
    "shares": {"0.05": None, "0.5": 1.0},
    "found": 3,
    "anything": [1],
}


def test_a_record_is_saved_with_its_keys_and_comes_back_as_it_was():
    assert to_json(WHOLE) == SAVED
    assert from_json(Whole, json.loads(json.dumps(SAVED)), "whole") == WHOLE


def test_what_is_empty_is_left_out_where_the_annotation_says_so_and_what_is_missing_has_its_default():
    parts = to_json(Whole("x", Spread(0.0, 1.0), "b", Point(1.0), parts=(Spread(0.0, 2.0),)))
    assert parts["parts"] == [{"low": 0.0, "high": 2.0, "width": 2.0}]
    few = {"called": "x", "low": 0, "high": 1, "kind": "b", "at": {"x": 2}, "unknown": "left out"}
    assert from_json(Whole, few, "whole") == Whole("x", Spread(0.0, 1.0), "b", Point(2.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"called": 3}, "whole.called expected a string, got 3"),
        ({"low": "x"}, "whole.low expected a finite number, got 'x'"),
        ({"high": None}, "whole.high expected a finite number, got None"),
        ({"kind": "c"}, "whole.kind expected one of 'a', 'b', got 'c'"),
        ({"at": [1.0, 0.5]}, r"whole.at expected a table of names, got \[1.0, 0.5\]"),
        ({"at": {}}, "whole.at expected a x, got only nothing"),
        ({"days": [1, 2.5]}, r"whole.days\[1\] expected an integer, got 2.5"),
        ({"days": {"a": 1}}, "whole.days expected a list"),
        ({"pair": [1.0]}, r"whole.pair expected a list of 2, got \[1.0\]"),
        ({"shares": {"0.05": "x"}}, r"whole.shares\['0.05'\] expected a finite number, got 'x'"),
        ({"shares": {"half": 1.0}}, r"whole.shares expected names that are numbers, got 'half'"),
        ({"found": []}, "whole.found expected a string"),
    ],
)
def test_values_of_another_kind_are_refused_with_their_place(changes, message):
    with pytest.raises(ValueError, match=message):
        from_json(Whole, {**SAVED, **changes}, "whole")


def test_what_has_no_json_form_is_refused():
    with pytest.raises(TypeError, match=r"expected plain values and records of them, got set: \{1\}"):
        to_json({"a": {1}})
