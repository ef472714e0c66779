"""Settings: each has a kind and bounds, and all that will not do is said at once, before anything is read."""

from pathlib import Path

import pytest
import yaml
from hostile_configs import drawn

from reward.targets import locate
from reward.training.assembly import plain_values
from reward.training.bounds import BOUNDS
from reward.training.defaults import composed
from reward.training.kinds import ListOf, Real, Values, Whole
from reward.training.settings import SettingsError, check_settings, kind_of

CONF = Path(__file__).parents[2] / "conf"
LOG = ["data=log", "data.events=e.parquet", "data.feedback=[click]"]


def plain(*overrides, name="train"):
    return plain_values(composed(name, list(overrides)))


def refused(*overrides, command="train"):
    with pytest.raises(SettingsError) as caught:
        check_settings(plain(*overrides, name=command), command=command)
    return str(caught.value)


def leaves(node, path):
    """The paths of all values in a file, as they stand in the config."""
    for name, value in node.items():
        if str(name).startswith("_") or name in ("defaults", "hydra"):
            continue
        here = (*path, str(name))
        if isinstance(value, dict) and value and kind_of(here) is None:
            yield from leaves(value, here)
        elif not isinstance(value, dict):
            yield here


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_every_setting_of_every_file_has_a_kind_or_is_a_group(file):
    group = () if file.parent == CONF or "@package _global_" in file.read_text() else (file.parent.name,)
    groups = {path.rpartition(".")[0] for path in BOUNDS} | {"consistency", "truth", "also", "data", "logger"}
    unknown = [".".join(it) for it in leaves(yaml.safe_load(file.read_text()) or {}, group) if kind_of(it) is None]
    assert not [path for path in unknown if path not in groups and path not in ("encoder", "head")]


@pytest.mark.parametrize(
    "choices",
    [
        [],
        LOG,
        ["data=world", "encoder=mamba"],
        ["data=world", "causal=excursion", "causal.group=null"],
        ["data=kuairand_official", "data.folder=f", "encoder=hstu", "consistency=td", "logger=csv", "causal=neural"],
        ["task=[return_time]", "encoder=gru"],
        [
            "task=[active_days,habit,return_time,survey,consumption]",
            "task.taken_up.outcome.active_if=click",
            "task.back_after.outcome.scope=item",
            "task.consumption.outcome.quantity=click",
        ],
    ],
)
def test_the_settings_that_ship_will_do(choices):
    check_settings(plain(*choices))
    check_settings(plain("run=DIR", name="evaluate"), command="evaluate")


@pytest.mark.parametrize("path", sorted(path for path, kind in BOUNDS.items() if isinstance(kind, Whole | Real)))
def test_no_number_may_be_nan_infinite_a_text_or_a_truth_value(path):
    kind = BOUNDS[path]
    for value in (float("nan"), float("inf"), -float("inf"), "1", True, None, [1], {}, 1e300, -1e300):
        assert not kind.admits(value), value
    for inside in (kind.low, kind.high):
        assert (
            kind.admits(inside) or kind.even
            if isinstance(kind, Whole)
            else kind.above or kind.below or kind.admits(inside)
        )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=-1", "seed: expected a whole number from 0 to 4294967295, got -1"),
        ("seed=4294967296", "seed: expected a whole number"),
        ("trainer.max_epochs=0", "trainer.max_epochs: expected a whole number from 1"),
        ("model.optimizer.lr=0", "model.optimizer.lr: expected a number above 0"),
        ("model.optimizer.lr=nan", "model.optimizer.lr: expected a number above 0"),
        ("encoder.dropout=1", "encoder.dropout: expected a number of at least 0 and below 1, got 1"),
        ("evaluation.intervals.resamples=0", "evaluation.intervals.resamples: expected a whole number from 1"),
        ("evaluation.intervals.level=1", "evaluation.intervals.level: expected a number above 0 and below 1"),
        ("horizon_days=64", "horizon_days: expected a whole number from 1 to 63, got 64"),
        ("causal.folds=1", "causal.folds: expected a whole number from 2"),
        ("batches.max_events=15", "batches.max_events: expected an even number"),
        ("trainer.accelerator=gpuu", "trainer.accelerator: expected one of auto, cpu, gpu"),
        ("encoder.heads=3", "encoder.heads must divide encoder.width, got 3 heads for a width of 64"),
        ("task.active_days.head.width=32", "task.active_days.head.width: expected 64, as encoder.width has it, got 32"),
        ("evaluation.logistic.strengths=[]", "evaluation.logistic.strengths: expected a list"),
        ("balance.warm_days=1", "balance.warm_days: expected at least balance.placebo_days"),
        ("model.state_weights={before:0,exposed:0,after:0}", "model.state_weights: expected at least one above 0"),
        ("trainer=null", "trainer: expected a group of settings, got None"),
        ("~evaluation.intervals.level", "evaluation.intervals: expected level, there is none"),
        ("+evaluation.intervals.rezamples=3", "there is no setting evaluation.intervals.rezamples (did you mean"),
        ("+sede=3", "there is no setting sede (did you mean 'seed'?)"),
        ("+encoder._partial_=true", "encoder._partial_: expected false, got True"),
        ("causal._target_=builtins.dict", "causal: builtins.dict cannot be called as causal is"),
        ("+encoder._args_=[1]", "encoder: expected no _args_"),
        ("encoder._target_=3", "encoder: expected a part, with the path of its class or function in _target_"),
        ("data.max_rejected_share=1.5", "data.max_rejected_share: expected a number of at least 0 and at most 1"),
    ],
)
def test_a_setting_that_will_not_do_is_named_with_what_was_expected(override, expected):
    assert expected in refused(override)


def test_all_that_will_not_do_is_listed_at_once():
    found = refused("seed=-1", "encoder.layers=0", "trainer.patience=x", "+encoder.depth=3").splitlines()
    assert found[0] == "these settings will not do:"
    assert len([line for line in found if line.startswith("  - ")]) >= 4
    assert "takes no depth" in found[1]


def test_the_settings_of_judging_again_are_checked_too():
    assert "evaluation.intervals.level" in refused("run=DIR", "evaluation.intervals.level=2", command="evaluate")


def test_a_part_from_elsewhere_is_checked_against_its_own_signature_alone():
    check_settings(
        plain(*[*LOG, "data._target_=tests.training.test_training_settings.source", "data.timezone=nowhere"])
    )
    assert "takes no" in refused(*LOG, "data._target_=tests.training.test_training_settings.picky")


def source(**settings):
    raise AssertionError("nothing is called")


def picky(events):
    raise AssertionError("nothing is called")


def test_a_list_says_what_may_be_in_it():
    rising = ListOf(Real(0, 1), least=2, rising=True)
    assert rising.admits([0.1, 0.2])
    assert not any(map(rising.admits, ([0.2, 0.1], [0.1], "ab", [0.1, 2], None, [0.1, 0.1])))
    assert (
        rising.describe() == "a list, each a number of at least 0 and at most 1 (at least 2 of them, in rising order)"
    )
    assert not ListOf(Whole(0, 9)).admits([1, 1])
    assert ListOf(Whole(0, 9), repeated=True).admits([1, 1])
    assert Values(Whole(0, 9)).admits({"a": 1})
    assert not Values(Whole(0, 9)).admits({"a": "1"})


def test_every_target_of_a_part_can_be_located():
    for file in CONF.rglob("*.yaml"):
        target = (yaml.safe_load(file.read_text()) or {}).get("_target_")
        assert target is None or callable(locate(target))


@pytest.mark.parametrize("seed", [11, 12])
def test_hostile_settings_are_refused_in_a_sentence_or_pass(seed, tmp_path):
    found = drawn(25, seed, tmp_path)
    assert found["fault"] == 0
    assert found["refused"] > 15
