import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import reward

HOUSE = Path(reward.__file__).parent

# a room may import from the rooms of the lines above its own
LEVELS = [
    {"arrays", "columns", "days", "frozen", "moved", "plain", "rewards", "text", "writing"},
    {"statistics", "targets"},
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
                told = node.body[0] if ast.get_docstring(node) else None
                lines = node.end_lineno - node.lineno + 1 - (told.end_lineno - told.lineno + 1 if told else 0)
                if lines > MOST_OF_A_FUNCTION:
                    long.add(f"{_short(file)}.{node.name}")
    assert long == set()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_private_name_stays_in_its_room(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and room_of(node.module or "") not in (None, room_of(name_of(file))):
            assert not [it.name for it in node.names if it.name.startswith("_")]


# names that a reader finds in no paper, and the public ones that are left: they may only become fewer
BEFORE = {
    "second_stage",
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
    "judge",
    "publish",
    "assessment",
    "wording",
    "decisions",
    "further",
    "also",
    "canary",
    "early_days",
    "Logged",
    "effective_rows",
    "choose",
    "inverse_propensity",
    "self_normalised",
}
LEFT = {
    "causal.choosing.choose",
    "causal.diagnostics.summary.account",
    "causal.item_effects.ipw.anchors",
    "causal.item_effects.shrinkage.behind",
    "causal.user_effects.replay.gate",
    "causal.user_effects.storage",
    "evaluation.evaluate.judge",
    "experiments.early_readout.decisions",
    "experiments.proxy_validation.judge",
    "progressive.past.Past",
    "report.sections.pushing",
    "scoring.manifest.most_bytes",
    "scoring.sealed.opened",
    "training.second_stage",
    "training.second_stage.second_stage",
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
    assert found == LEFT


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


def test_every_room_has_its_place():
    rooms = {room_of(name_of(file)) for file in FILES if len(file.relative_to(HOUSE).parts) > 1}
    assert rooms <= set(LEVEL), f"say in LEVELS where {rooms - set(LEVEL)} stands"


def test_importing_the_package_loads_nothing_that_scoring_does_not_need():
    heavy = ["hydra", "omegaconf", "wandb", "pytorch_lightning", "matplotlib"]
    probe = f"import reward, sys; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
