"""The personal part of earlier formats: read as it was, and checked as any that a stranger hands out."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from forged import manifest_of, reseal

import reward
from reward.causal.user_effects.earlier_formats import converted
from reward.causal.user_effects.model import PersonalizedEffect

GOLDEN = Path(__file__).parents[1] / "golden"
NET = {"centre": [0.0, 1.0], "width": [1.0, 2.0], "layers": [[[[1.0, 2.0]], [0.5]]]}


def told(version=4):
    return json.loads((GOLDEN / f"format_{version}" / "reward.json").read_text())["effects"]


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_an_artefact_of_each_format_has_the_model_of_today(version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", reward.ArtifactWarning)
        found = reward.load(GOLDEN / f"format_{version}").effects
    before = told(version)
    assert type(found) is PersonalizedEffect
    assert found.coefficients.tolist() == before["coefficients"]
    assert found.basket.tolist() == before["basket"]
    assert found.calibration.slope == before["borne_out"]["slope"]
    assert found.personal_calibration.slope == before["personal_borne_out"]["slope"]


def test_a_net_among_the_values_is_that_of_a_file():
    in_values, weights = converted(told() | {"net": NET}, {})
    tensors = {
        "centre": torch.tensor(NET["centre"]),
        "width": torch.tensor(NET["width"]),
        "0.weight": torch.tensor(NET["layers"][0][0]),
        "0.bias": torch.tensor(NET["layers"][0][1]),
    }
    in_file, same = converted(told(5) | {"net": 1}, {name: it.double() for name, it in tensors.items()})
    net = {name: it for name, it in weights.items() if name.startswith("net.")}
    assert net.keys() == {"net.centre", "net.width", "net.stack.0.weight", "net.stack.0.bias"}
    assert all(torch.equal(it, same[name]) for name, it in net.items())
    assert in_values.keys() == in_file.keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"net": 3},
        {"net": True},
        {"net": {**NET, "layers": []}},
        {"net": {**NET, "layers": [[[[1.0], [1.0, 2.0]], [0.5]]]}},
        {"net": {**NET, "width": [0.0, 1.0]}},
        {"covariance": [[1.0], [1.0, 2.0]]},
        {"covariance": [["a"]]},
        {"scale": []},
        {"gate": [1.0]},
        {"basket": []},
        {"basket": [10**9]},
        {"basket": [-1]},
        {"basket": [10**30]},
        {"coefficients": [1e308] * 7},
        {"borne_out": {"slope": "1", "se": 0.1}},
        {"tastes": []},
        {"spans_days": [0.0]},
    ],
    ids=str,
)
def test_what_no_version_wrote_is_refused(changes, tmp_path):
    folder = tmp_path / "forged"
    shutil.copytree(GOLDEN / "format_4", folder)
    manifest = manifest_of(folder)
    manifest["effects"] |= changes
    reseal(folder, manifest)
    with pytest.raises(reward.ArtifactError):
        reward.load(folder)


def test_weights_of_a_net_that_the_values_do_not_tell_of_are_refused():
    with pytest.raises(ValueError, match="a net of None has weights of 1 layers"):
        converted(told(5) | {"net": None}, {"0.weight": torch.zeros(1, 1)})
