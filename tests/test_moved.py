"""Names that modules had before go on working: in imports, in artefacts and in saved configs."""

import importlib
import subprocess
import sys

import pytest

from reward.moved import MOVED, today
from reward.targets import resolve


@pytest.mark.parametrize("old", MOVED)
def test_what_moved_is_found_by_its_old_name(old):
    for place in MOVED[old]:
        importlib.import_module(place)
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=rf"^{old} is {MOVED[old][0]}"):
        module = importlib.import_module(old)
    for place in MOVED[old]:
        found = vars(importlib.import_module(place)).items()
        own = {name: it for name, it in found if getattr(it, "__module__", None) == place}
        assert all(vars(module).get(name) is it for name, it in own.items())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("reward.effects.second_stage.fit_effects", "reward.causal.estimate.estimate_effects"),
        ("reward.experiments.composite.Composite", "reward.scoring.composite.Composite"),
        ("reward.schema.EventLog", "reward.data.event_log.EventLog"),
        ("reward.heads.trace.TraceHead", "reward.heads.trace.TraceHead"),
        ("os.system", "os.system"),
    ],
)
def test_the_name_of_today(old, new):
    assert today(old) == new


def test_what_is_not_among_the_modules_asked_is_neither_found_nor_imported(monkeypatch):
    monkeypatch.setattr("reward.moved.importlib.import_module", lambda name: pytest.fail(f"{name} was imported"))
    assert today("reward.tracking.wandb_logger", among={"reward.encoders.gru"}) == "reward.tracking.wandb_logger"


def test_an_artefact_may_name_a_part_where_it_was():
    assert resolve("reward.experiments.composite.Composite", "composite", frozenset()).__name__ == "Composite"


def test_a_name_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("reward.nothing_of_the_kind")


def test_a_saved_config_of_before_still_trains(tmp_path):
    """The targets of before, on the command line as a saved config has them."""
    script = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from hydra.utils import instantiate\n"
        "made = instantiate({'_target_': 'reward.effects.personal.fit_personal', '_partial_': True})\n"
        "print(made.func.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path.parent, check=True
    )
    assert done.stdout.strip() == "reward.causal.user_effects.estimation"
