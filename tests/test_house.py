import ast
import builtins
import doctest
import importlib
import inspect
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import reward

HOUSE = Path(reward.__file__).parent

# a room may import from the rooms of the lines above its own
LEVELS = [
    {"moved"},
    {"arrays", "columns", "days", "frozen", "plain", "rewards", "writing"},
    {"records", "statistics", "targets"},
    {"data"},
    {"features", "outcomes"},
    {"encoders", "heads", "objectives"},
    {"task"},
    {"sequences"},
    {"causal", "progressive"},
    {"scoring"},
    {"off_policy", "ranking"},
    {"experiments"},
    {"evaluation"},
    {"report"},
    {"simulation", "engines"},
    {"training"},
]
LEVEL = {room: place for place, rooms in enumerate(LEVELS) for room in rooms}
FILES = sorted(HOUSE.rglob("*.py"))


def name_of(file):
    parts = file.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file):
    """The modules a file imports, by full name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports with their full path"
            yield from (f"reward.{name.name}" for name in node.names) if node.module == "reward" else [node.module]


def room_of(module):
    """``reward.heads.trace`` → heads; nothing for the package itself and for other packages."""
    package, *inside = module.split(".")
    return inside[0] if package == "reward" and inside else None


@pytest.mark.parametrize("file", [file for file in FILES if room_of(name_of(file)) in LEVEL], ids=name_of)
def test_a_room_imports_only_from_rooms_to_its_left(file):
    room = room_of(name_of(file))
    for module in imports(file):
        assert module != "reward", f"{room} imports the whole house"
        other = room_of(module)
        if other not in (None, room):
            assert LEVEL.get(other, 99) < LEVEL[room], f"{room} imports {module}, which is not to its left"


MOST_LINES, MOST_METHODS, MOST_OF_A_FUNCTION = 350, 12, 60


def _short(file):
    return name_of(file).removeprefix("reward.")


def test_a_file_has_one_idea_and_no_more_lines_than_that_takes():
    assert {_short(it) for it in FILES if len(it.read_text().splitlines()) > MOST_LINES} == set()


def test_a_class_has_a_dozen_public_and_a_dozen_private_methods():
    large = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                names = [
                    it.name for it in node.body if isinstance(it, ast.FunctionDef) and not it.name.startswith("__")
                ]
                private = sum(name.startswith("_") for name in names)
                if max(private, len(names) - private) > MOST_METHODS:
                    large.add(f"{_short(file)}.{node.name}")
    assert large == set()


def test_a_function_is_no_longer_than_a_screen():
    long = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                said = node.body[0] if ast.get_docstring(node) else None
                lines = node.end_lineno - node.lineno + 1 - (said.end_lineno - said.lineno + 1 if said else 0)
                if lines > MOST_OF_A_FUNCTION:
                    long.add(f"{_short(file)}.{node.name}")
    assert long == set()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_private_name_stays_in_its_room(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and room_of(node.module or "") not in (None, room_of(name_of(file))):
            assert not [it.name for it in node.names if it.name.startswith("_")]


# names of before, which a reader finds in no paper: no file, class or function has them
BEFORE = {
    "second_stage",
    "effects",
    "fit_effects",
    "anchors",
    "pooling",
    "contrasts",
    "Personal",
    "Standing",
    "Person",
    "Facts",
    "Past",
    "gate",
    "behind",
    "opened",
    "taste",
    "answers",
    "traits",
    "basket",
    "borne_out",
    "HeldOut",
    "pushing",
    "Push",
    "promised",
    "kept",
    "account",
    "storage",
    "exposure",
    "judge",
    "publish",
    "assessment",
    "wording",
    "decisions",
    "further",
    "also",
    "canary",
    "truth",
    "early_days",
    "policies",
    "Logged",
    "effective_rows",
    "most",
    "choose",
    "inverse_propensity",
    "self_normalised",
}


def test_public_names_are_the_field_s():
    found = set()
    for file in FILES:
        found |= {_short(file)} if file.stem in BEFORE else set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (
                node.name in BEFORE or node.name.startswith(("least_", "most_"))
            ):
                found.add(f"{_short(file)}.{node.name}")
    assert found == set()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_hydra_is_for_the_scripts_and_for_training(file):
    if room_of(name_of(file)) != "training":
        assert not {module.split(".")[0] for module in imports(file)} & {"hydra", "omegaconf"}


@pytest.mark.parametrize("file", [file for file in FILES if ">>>" in file.read_text()], ids=name_of)
def test_the_examples_in_docstrings_are_true(file):
    found = doctest.testmod(importlib.import_module(name_of(file)))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("room", ["encoders", "heads", "objectives", "ranking"])
def test_what_turns_tensors_into_tensors_knows_torch_and_nothing_of_the_data(room):
    for file in (HOUSE / room).rglob("*.py"):
        outside = {module for module in imports(file) if room_of(module) not in (room, "days")}
        assert {module.split(".")[0] for module in outside} <= {*sys.stdlib_module_names, "torch"}, name_of(file)


# values as a file or another library has them: everything else has a type of its own
BORDERS = {
    # the manifest of an artefact
    "causal.diagnostics.summary.EffectSummary.to_json",
    "causal.protocol.EffectModel.to_json",
    "causal.excursion.model.ExcursionEffect.to_json",
    "causal.user_effects.model.PersonalizedEffect.to_json",
    "causal.stored.newcomers_to_json",
    "causal.stored.slope_to_json",
    "causal.user_effects.earlier_formats.converted",
    "causal.user_effects.restored.checked",
    "causal.user_effects.state_dict.arguments",
    "causal.user_effects.state_dict.values_of",
    "features.events.Features.sizes",
    "features.events.Features.to_json",
    "scoring.effects_files.write_effects",
    "scoring.manifest.unsealed",
    "scoring.earlier_formats.EarlierParts.encoder",
    "scoring.earlier_formats.EarlierParts.head",
    "scoring.earlier_formats.EarlierParts.outcome",
    "scoring.parts.Parts.encoder",
    "scoring.parts.TaskParts.head",
    "scoring.parts.TaskParts.outcome",
    "scoring.parts.part",
    "training.run.facts",
    "training.run.weigh",
    "training.refit.refit_facts",
    # metrics.json
    "report.saved.to_json",
    "training.fit.evaluate",
    "training.judging.evaluate",
    "training.judging.evaluate_run",
    # configs, and what is saved of a run
    "simulation.demo.default_settings",
    "training.assembly.Run.plain",
    "training.assembly.plain_values",
    "training.defaults.defaults",
    "training.folder.RunFolder.record",
    "training.identity.placed",
    "training.overrides.resumed",
    "training.renamed.config_of_today",
    "training.sweep.jobs",
    # as LightGBM, Lightning have them
    "statistics.regression.boosting_with",
    "training.fitting.Checkpoint.state_dict",
    "training.fitting.History.state_dict",
}


class _Names(dict):
    """Names of a module; those that it imports for its types alone are `object`."""

    def __missing__(self, name):
        return object


def _is_loose(annotation):
    """Whether a type is, or holds, a mapping of anything."""
    if annotation in (dict, Mapping):
        return True
    inner = get_args(annotation)
    loose = inspect.isclass(origin := get_origin(annotation)) and issubclass(origin, Mapping) and Any in inner
    return loose or any(map(_is_loose, inner))


def _results(module):
    """What public functions and methods return, and the fields of public classes, by name."""
    names = _Names({**vars(builtins), **vars(module)})
    for name, it in vars(module).items():
        if name.startswith("_") or getattr(it, "__module__", "") != module.__name__:
            continue
        functions = {name: it} if inspect.isfunction(it) else {}
        if inspect.isclass(it):
            fields = [each for each in vars(it).get("__annotations__", {}) if not each.startswith("_")]
            hints = get_type_hints(it, localns=names) if fields else {}
            yield from ((f"{name}.{each}", hints[each]) for each in fields)
            methods = {each: of.fget if isinstance(of, property) else of for each, of in vars(it).items()}
            public = {each: getattr(of, "__func__", of) for each, of in methods.items() if not each.startswith("_")}
            functions = {f"{name}.{each}": of for each, of in public.items() if inspect.isfunction(of)}
        yield from ((each, get_type_hints(of, localns=names).get("return")) for each, of in functions.items())


def test_no_result_that_crosses_a_room_is_a_mapping_of_anything():
    loose = set()
    for file in FILES:
        found = _results(importlib.import_module(name_of(file)))
        loose |= {f"{_short(file)}.{name}" for name, hint in found if _is_loose(hint)}
    assert loose == BORDERS, "give it a dataclass, or say in BORDERS which file's format it is"


def test_a_mapping_of_anything_is_found_wherever_it_stands():
    assert all(map(_is_loose, (dict[str, Any], list[dict[str, Any]], tuple[int, Mapping[Any, int] | None], dict)))
    assert not any(map(_is_loose, (dict[str, int], Mapping[str, object], tuple[Any, ...], None)))


def test_every_room_has_its_place():
    rooms = {room_of(name_of(file)) for file in FILES if len(file.relative_to(HOUSE).parts) > 1}
    assert rooms <= set(LEVEL), f"say in LEVELS where {rooms - set(LEVEL)} stands"


def test_importing_the_package_loads_nothing_that_scoring_does_not_need():
    heavy = ["hydra", "omegaconf", "wandb", "pytorch_lightning", "matplotlib"]
    probe = f"import reward, sys; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
