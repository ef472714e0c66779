"""JSON from a stranger: read within bounds, and checked against annotations."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from reward.plain import check, parse


class Told(TypedDict):
    name: str
    sizes: NotRequired[list[int]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "has the key 'a' twice"),
        (b'{"a": NaN}', "has NaN, which is no number of JSON"),
        (b"[-Infinity]", "has -Infinity, which is no number"),
        (b"[1e999]", "has the number '1e999', which is too large"),
        (b"[" + b"9" * 500 + b"]", r"has the number '9+ ..., which is too large"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"\xff", "codec can't decode"),
        (b"{", "Expecting property name"),
    ],
)
def test_text_that_is_no_plain_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_text_is_read():
    assert parse('{"a": [1, 2.5, null, true, "é"]}'.encode()) == {"a": [1, 2.5, None, True, "é"]}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, int),
        (1, float),
        (1.5, float),
        ("a", str),
        (None, str | None),
        ([1, 2], list[int]),
        ([1, 2], tuple[int, ...]),
        (["a", 1.0], tuple[str, float]),
        ([1.0, 2], Sequence[float]),
        ({"a": [1, 2]}, dict[str, list[int]]),
        ({"a": True}, Mapping[str, bool]),
        ("a", Literal["a", "b"]),
        ({"name": "a"}, Told),
        ({"name": "a", "sizes": [1], "more": {}}, Told),
        ({"what": [object]}, Any),
        ([], list[int]),
    ],
)
def test_values_of_a_kind_pass(value, kind):
    check(value, kind, "it")


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, int, "it expected an integer, got True"),
        (1.0, int, "it expected an integer, got 1.0"),
        (2**63, int, "it expected an integer, got 9223372036854775808"),
        (float("nan"), float, "it expected a finite number, got nan"),
        (10**400, float, "it expected a finite number, got 1000"),
        (True, float, "it expected a finite number, got True"),
        ("\ud800", str, "it expected a string"),
        ([1, "a"], list[int], r"it\[1\] expected an integer, got 'a'"),
        ("ab", list[str], "it expected a list, got 'ab'"),
        ([1], tuple[int, int], "it expected a list of 2, got"),
        ([1], dict[str, int], "it expected a table of names, got"),
        ({"a": "b"}, dict[str, int], r"it\['a'\] expected an integer"),
        ("c", Literal["a", "b"], "it expected one of 'a', 'b', got 'c'"),
        (3, str | None, "it expected a string, got 3"),
        ({}, Told, "it has no name"),
        ({"name": "a", "sizes": [None]}, Told, r"it.sizes\[0\] expected an integer, got None"),
        (3, Told, "it expected a table of names, got 3"),
    ],
)
def test_other_values_are_named(value, kind, message):
    with pytest.raises(ValueError, match=message):
        check(value, kind, "it")
