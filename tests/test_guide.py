"""The pages of docs/guide can be followed: their code runs as it stands, on one small log that they make themselves."""

import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from reward.__main__ import main

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
FIRST = ("your_own_log", "train_and_tune")  # they make the log and the run that the other pages use
PAGES = [page.stem for page in sorted(GUIDE.glob("*.md"))]
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e-?\d+)?")


def blocks(page):
    """The fenced blocks of a page, (language, text)."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", (GUIDE / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL | re.M)


def words(text):
    """A text without its numbers, which differ by processor, and without the space around them."""
    return NUMBER.sub("#", " ".join(text.split()))


def follow(page):
    """Do what a page says, and hold what it shows as printed against what is printed."""
    found, printed = {}, None
    for language, text in blocks(page):
        if language == "python":
            told = StringIO()
            with redirect_stdout(told):
                exec(compile(text, f"{page}.md", "exec"), found)
            printed = told.getvalue()
        elif language == "text" and printed:
            assert words(text) in words(printed), text
            printed = None
        elif language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                command = shlex.split(line, comments=True)
                if command[:3] == ["python", "-m", "reward"] and command[3] in ("score", "draw"):
                    assert main(command[3:]) == 0, line
    return found


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    """A folder in which the pages that make the log and the first run have been followed."""
    folder = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        for page in FIRST:
            follow(page)
        yield folder


@pytest.mark.parametrize("page", [page for page in PAGES if page not in (*FIRST, "ranking")])
def test_a_page_of_the_guide_can_be_followed(page, week):
    follow(page)


def test_the_ranker_on_the_page_puts_first_what_brings_users_back(week):
    found = follow("ranking")
    assert found["first"] > 2 * found["all_songs"]


def test_the_first_pages_make_a_log_and_a_run(week):
    assert (week / "log" / "events.parquet").exists()
    assert (week / "runs" / "first" / "evaluation" / "report.html").exists()


def test_each_page_of_the_guide_leads_to_the_next():
    for page in PAGES:
        assert "\nNext: " in (GUIDE / f"{page}.md").read_text(encoding="utf-8"), page


def test_the_encoder_of_ones_own_is_one_that_is_trained():
    shown = next(text for language, text in blocks("train_and_tune") if language == "py")
    assert shown in (Path(__file__).parent / "test_doors.py").read_text(encoding="utf-8")


def test_the_example_of_sums_over_users_runs(capsys):
    page = GUIDE.parent / "concepts" / "sums_over_users.md"
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.M)
    exec(compile(code, page.name, "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == "{'show': np.float64(0.0), 'song': np.float64(0.5)}\n"
