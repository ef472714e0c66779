"""Names that modules had before go on working: in imports, in artefacts and in saved configs."""

import importlib
import subprocess
import sys

import pytest

from reward.moved import MOVED, today
from reward.scoring.artifact import ArtifactError
from reward.scoring.sealed import Sealed
from reward.targets import locate, resolve


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


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("reward.evaluation.evaluate", "judge", "evaluate_function"),
        ("reward.experiments.early_readout", "decisions", "launch_decisions"),
        ("reward.experiments.proxy_validation", "judge", "evaluate_proxy"),
        ("reward.progressive.past", "Past", "PastItems"),
        ("reward.rewards", "exposure", "exposure_rewards"),
        ("reward.scoring.manifest", "most_bytes", "max_bytes"),
        ("reward.simulation.truth", "effects", "effects_from_pairs"),
    ],
)
def test_a_single_name_of_before_is_read_where_it_was(module, old, new):
    here = importlib.import_module(MOVED.get(module, (module,))[0])
    if module in MOVED:
        sys.modules.pop(module, None)
    with pytest.warns(DeprecationWarning, match="now: "):
        assert getattr(importlib.import_module(module), old) is getattr(here, new)
    assert today(f"{module}.{old}") == f"{here.__name__}.{new}"
    with pytest.raises(AttributeError, match="has no attribute 'nothing_of_the_kind'"):
        here.nothing_of_the_kind  # noqa: B018


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("reward.causal.choosing.Chooser", "choose", "select_roles"),
        ("reward.causal.item_effects.shrinkage.Pooled", "behind", "effect_given_mediator"),
        ("reward.causal.item_effects.shrinkage.Pooled", "behind_std", "effect_given_mediator_std"),
        ("reward.causal.item_effects.shrinkage.Pooled", "effects", "posterior_effects"),
        ("reward.causal.excursion.model.ExcursionEffect", "effects", "item_effects"),
    ],
)
def test_a_method_of_before_is_that_of_today(kind, old, new):
    kind = locate(kind)
    assert vars(kind)[old].now == new
    assert new in vars(kind)


def test_an_artefact_is_opened_by_the_name_of_before(tmp_path):
    with pytest.warns(DeprecationWarning, match="opened is open now"):
        opened = Sealed.opened
    with pytest.raises(ArtifactError), opened(tmp_path):
        pass


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
