"""Every choice of every group fits the part it names."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import train  # noqa: F401  registers the resolvers
from reward.targets import locate
from reward.training.defaults import composed
from reward.training.wiring import check_names, check_signatures

CONF = Path(__file__).parents[2] / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
CHOICES = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
NEEDED = {
    "log": ["data.events=e.parquet", "data.feedback=[click]"],
    "kuairand_official": ["data.folder=f"],
    "habit": ["task.taken_up.outcome.active_if=click", "task.back_after.outcome.scope=creator"],
    "consumption": ["task.consumption.outcome.quantity=click"],
    "simulation": ["data=world"],  # the group that this choice of data brings
}


def plain(config):
    OmegaConf.clear_resolver("hydra")
    OmegaConf.register_new_resolver("hydra", lambda key: "out", replace=True)
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_binds_to_the_signature_it_names(group, choice):
    config = composed("train", [f"{group}={choice}", *NEEDED.get(choice, NEEDED.get(group, []))])
    check_signatures(plain(config))


def test_the_defaults_fit_by_name():
    config = plain(composed("train"))
    task = config["task"]["active_days"]
    head, outcome, objective = (locate(task[name]["_target_"]) for name in ("head", "outcome", "objective"))
    check_names(head, outcome, objective)


def test_an_unknown_key_and_a_missing_one_are_listed_together():
    config = plain(composed("train", ["+encoder.depth=3", "~task.active_days.head.hidden"]))
    with pytest.raises(TypeError, match=r"(?s)head: .* needs hidden.*encoder: .* takes no depth"):
        check_signatures(config)


def test_a_default_stands_in_one_yaml_alone():
    targets = [yaml.safe_load(path.read_text()).get("_target_") for path in CONF.glob("encoder/*.yaml")]
    assert len(targets) == len(set(targets)) > 1


def test_a_value_that_is_left_to_be_given_is_asked_for_by_its_path():
    config = plain(composed("train", ["data=log", "task=[active_days,consumption]"]))
    with pytest.raises(
        TypeError, match=r"(?s)set task\.consumption\.outcome\.quantity.*set data\.events, data\.feedback"
    ):
        check_signatures(config)


@pytest.mark.parametrize("name", ["return_time", "consumption"])
def test_a_further_outcome_has_a_head_for_its_own_horizon(name):
    changes = [f"task=[active_days,{name}]", f"task.{name}.outcome.horizon_days=3", *NEEDED.get(name, [])]
    found = plain(composed("train", changes))["task"][name]
    assert found["head"]["horizon_days"] == 3
