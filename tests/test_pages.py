"""What the pages tell a reader to type exists."""

import inspect
import re
import shlex
from pathlib import Path

import pytest

import reward
import train  # noqa: F401  registers the resolvers
from reward.__main__ import main
from reward.training.defaults import composed

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = {page: page.read_text().replace("\\\n", " ") for page in PAGES}
KEPT = inspect.getsource(reward.RewardFunction)  # what an instance keeps is said there
COMMANDS = sorted(
    {
        line.strip(" `")
        for text in TEXT.values()
        for line in re.findall(r"python train\.py [^`\n|;]+", text)
        if "hydra.searchpath" not in line  # parts of one's own: tests/test_guide.py has them
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_training_command_composes(command):
    words = [word for word in shlex.split(command, comments=True)[2:] if word != "-m"]
    swept = [
        f"{name}={value.split(',')[0]}" if "[" not in value else f"{name}={value}"
        for name, _, value in (word.partition("=") for word in words)
    ]
    assert composed("train", swept).seed is not None


def test_there_are_training_commands_to_check():
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_to_files_that_exist(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT[page]):
        assert (page.parent / target).exists(), target


def anchors(page):
    """Where a link may point on a page: its headings, as GitHub turns them into anchors."""
    titles = re.findall(r"^#+ (.+)$", TEXT[page], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_to_headings_that_exist(page):
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", TEXT[page]):
        assert anchor in anchors((page.parent / target).resolve() if target else page), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_make_target_on_a_page_is_in_the_makefile(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", TEXT[page])) <= targets | {"a"}


def test_the_functions_on_the_pages_are_the_packages(capsys):
    for name in re.findall(r"\bfn\.(\w+)", "".join(TEXT.values())):
        assert hasattr(reward.RewardFunction, name) or f"self.{name}" in KEPT, name
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    known = capsys.readouterr().out
    for option in re.findall(
        r"(--[a-z-]+)", " ".join(re.findall(r"python -m reward score[^\n`]+", TEXT[ROOT / "README.md"]))
    ):
        assert option in known
