"""Settings beside resume=: each counts, or is refused by its name."""

import pytest

from reward.training.folder import RunFolderError
from reward.training.overrides import names, resumed

SAVED = {
    "seed": 0,
    "resume": None,
    "encoder": {"width": 8},
    "trainer": {"max_epochs": 2},
    "evaluation": {"intervals": {"resamples": 0}},
    "causal": {"gate": None},
    "data": {"events": "a.parquet", "feedback": ["click"]},
}


def given(**changes):
    found = {name: dict(value) if isinstance(value, dict) else value for name, value in SAVED.items()}
    for path, value in changes.items():
        node, _, name = path.rpartition("__")
        (found[node] if node else found)[name] = value
    return found


def test_names_of_overrides_are_without_their_signs_and_packages():
    assert names(["+a.b=1", "~c", "++d.e=[1=2]", "encoder@also=gru"]) == ["a.b", "c", "d.e", "encoder"]


def test_what_later_stages_read_may_be_changed():
    overrides = ["resume=DIR", "evaluation.intervals={resamples:20}", "trainer.max_epochs=3", "causal.gate=click"]
    asked = given(evaluation__intervals={"resamples": 20}, trainer__max_epochs=3, causal__gate="click", resume="DIR")
    changed = resumed(overrides, asked, SAVED, has_artifact=False)
    assert changed == {
        "evaluation.intervals": {"resamples": 20},
        "trainer.max_epochs": 3,
        "causal.gate": "click",
    }


def test_the_same_log_may_be_elsewhere():
    assert resumed(["data.events=b"], given(data__events="b"), SAVED, has_artifact=True) == {"data.events": "b"}


def test_a_setting_that_is_given_as_it_was_is_no_change():
    assert resumed(["seed=0", "encoder.width=8"], given(), SAVED, has_artifact=True) == {}


@pytest.mark.parametrize(
    ("override", "asked"), [("seed=1", {"seed": 1}), ("data.feedback=[like]", {"data__feedback": ["like"]})]
)
def test_what_training_has_read_is_refused_by_name(override, asked):
    with pytest.raises(RunFolderError, match=f"cannot be changed to {override.partition('=')[0]}"):
        resumed([override], given(**asked), SAVED, has_artifact=False)


def test_every_refused_setting_is_listed():
    with pytest.raises(RunFolderError, match=r"seed \(the run has 0, asked for 1\); encoder"):
        resumed(["seed=1", "encoder=gru"], given(seed=1, encoder={"width": 32}), SAVED, has_artifact=False)


def test_once_the_scoring_function_is_saved_training_cannot_be_longer():
    with pytest.raises(RunFolderError, match=r"trainer.max_epochs .* its scoring function is made"):
        resumed(["trainer.max_epochs=3"], given(trainer__max_epochs=3), SAVED, has_artifact=True)
