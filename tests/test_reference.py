"""docs/reference lists the public names as they are."""

import re
from importlib import import_module, util
from pathlib import Path

import pytest

import reward

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "README.md"


@pytest.fixture(scope="module")
def write():
    spec = util.spec_from_file_location("write_reference", PAGE.parent / "write.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_is_that_of_the_docstrings_of_today(write):
    assert PAGE.read_text(encoding="utf-8") == write.index(), "run make reference"


def test_each_name_is_imported_from_where_the_list_says(write):
    module = None
    for line in write.index().splitlines():
        if found := re.search(r"^(?:From|##.*:) `([\w.]+)`", line):
            module = import_module(found[1])
        elif found := re.match(r"- \[`(\w+)`\]", line):
            assert callable(getattr(module, found[1])), line  # and no module of that name


def test_what_a_package_exports_is_on_the_list(write):
    for package, (_, names) in write.PUBLIC.items():
        module = import_module(package)
        listed = {name for members in names.values() for name in members}
        assert set(getattr(module, "__all__", ())) - {"ranking"} <= listed, package
    assert set(reward.__all__)  # that there is one to hold the list to


def test_a_name_without_a_docstring_is_refused(write, monkeypatch):
    monkeypatch.setattr("reward.ranking.losses.softmax.__doc__", None)
    with pytest.raises(ValueError, match="softmax expected a docstring"):
        write.first_sentence("reward.ranking.losses", "softmax")
