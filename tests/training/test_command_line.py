"""Errors of the command line, one sentence each."""

import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from reward.training.assembly import plain_values
from reward.training.command_line import RefusedError, in_one_sentence, quoted, refusing, sentence

CONF = Path(__file__).parents[2] / "conf"


def said(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"), pytest.raises(Exception) as caught:  # noqa: PT011
        plain_values(compose("train", overrides=list(overrides)))
    return sentence(caught.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("encoder=gruu", "encoder=gruu is no choice (did you mean 'gru'?): expected one of gru, hstu"),
        ("encoder.widht=3", "there is no setting encoder.widht (did you mean 'width'?): encoder has"),
        ("sede=1", "there is no setting sede (did you mean 'seed'?)"),
        ("data.events=a=b", "'data.events=a=b' cannot be read: expected name=value"),
        ("seed=${nothing}", "seed: Interpolation key 'nothing' not found"),
        ("causal=null", "expected the name of a choice"),
        ("network={a:1}", "there is no setting network.a: network has item_dropout"),
        ("nonsense", "'nonsense' cannot be read"),
    ],
)
def test_what_the_config_system_refuses_is_one_sentence_that_names_the_setting(override, expected):
    found = said(override)
    assert expected in found
    assert sentence(RefusedError(found)) == found
    assert "\n" not in found
    assert "HYDRA_FULL_ERROR" not in found


def test_a_value_that_is_missing_is_asked_for():
    assert (
        said("data=log", "seed=${data.events}")
        == "data.events expected a value, it was given none: set data.events=..."
    )


def test_a_value_may_hold_an_equals_sign():
    given = ["data.events=log/day=1/*.parquet", "seed=1", "+a.b=[x=1]", "--cfg=job", "data.items='a=b'"]
    assert quoted(given) == ["data.events='log/day=1/*.parquet'", *given[1:]]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=["data=log", *quoted(["data.events=log/day=1/a.parquet"])])
    assert config.data.events == "log/day=1/a.parquet"


def test_what_is_wrong_before_training_is_refused_and_faults_come_through():
    with pytest.raises(RefusedError, match="ValueError: no"), refusing():
        raise ValueError("no")
    with pytest.raises(ZeroDivisionError), refusing():
        _ = 1 / 0


def test_the_process_ends_with_the_sentence_and_not_with_a_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with (
        pytest.raises(SystemExit, match="encoder=gruu is no choice"),
        in_one_sentence(),
        initialize_config_dir(str(CONF), version_base="1.3"),
    ):
        compose("train", overrides=["encoder=gruu"])
