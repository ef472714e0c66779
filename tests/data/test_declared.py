import inspect
from pathlib import Path

import polars as pl
import pytest
import yaml

import reward
from reward.data.declared import DEFAULTS, Declared
from reward.data.parquet import check, read

READ = {"session_gap_minutes": 30, "max_rejected_share": 0.0}
CALLS = {read: {"feedback": ["click"], **READ}, check: {"feedback": ["click"]}}


def test_each_argument_has_a_default_and_its_words():
    assert DEFAULTS.keys() == Declared.__annotations__.keys()
    assert all(f"\n        {name}: " in Declared.__doc__ for name in DEFAULTS)


@pytest.mark.parametrize("function", CALLS, ids=lambda it: it.__name__)
def test_a_signature_names_each_argument_with_its_default(function):
    parameters = inspect.signature(function).parameters
    assert {name: parameters[name].default for name in DEFAULTS} == DEFAULTS
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in DEFAULTS)
    assert "declared" not in parameters


@pytest.mark.parametrize("function", CALLS, ids=lambda it: it.__name__)
def test_an_argument_that_there_is_not_is_refused(function):
    with pytest.raises(TypeError, match=r"a log expected arguments of context, .*, got contxt, zone: see that"):
        function("events.parquet", contxt=["device"], zone="UTC", **CALLS[function])


def test_the_settings_of_a_log_are_arguments_of_what_reads_it():
    conf = yaml.safe_load((Path(reward.__file__).parents[1] / "conf" / "data" / "log.yaml").read_text())
    inspect.signature(read).bind(**{name: value for name, value in conf.items() if not name.startswith("_")})


def test_what_is_declared_is_what_the_log_says():
    frame = pl.DataFrame({"user_id": [1], "item_id": [2], "timestamp": [0], "click": [1], "device": ["tv"]})
    log = read(frame, feedback="click", context="device", timestamp_unit="s", day_starts_at="04:00", **READ)
    told = log.feedback, log.context, log.timestamp_unit, log.day_starts_at, log.timezone, log.items
    assert told == (("click",), ("device",), "s", "04:00", "UTC", None)
