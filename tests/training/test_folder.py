"""Run folders: one run each, one process at a time."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reward.training.folder import RunFolder, RunFolderError

ROOT = Path(__file__).parents[2]


def used(folder):
    """A folder in which a run was, and ended."""
    taken = RunFolder.claim(folder, or_next=False)
    taken.identify("seed: 0\n", "[]\n", {"window": {}})
    taken.release()
    return folder


def in_another_process(code, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CLAIM = (
    "import sys; from pathlib import Path; from reward.training.folder import RunFolder\n"
    "print(RunFolder.claim(Path(sys.argv[1]), or_next=bool(int(sys.argv[2]))).path.name)"
)


@pytest.mark.parametrize("trace", [".hydra/config.yaml", "run.json", "checkpoints/last.ckpt", "reward/reward.json"])
def test_a_folder_with_anything_of_a_run_is_refused_and_left_as_it_is(tmp_path, trace):
    (tmp_path / "run" / trace).parent.mkdir(parents=True)
    (tmp_path / "run" / trace).write_text("{}")
    with pytest.raises(RunFolderError, match=r"holds another run .* resume="):
        RunFolder.claim(tmp_path / "run", or_next=False)
    assert (tmp_path / "run" / trace).read_text() == "{}"


def test_a_folder_with_other_files_is_taken_and_they_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    folder = RunFolder.claim(tmp_path, or_next=False)
    folder.release()
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_where_the_name_was_not_given_the_next_one_is_taken(tmp_path):
    used(tmp_path / "run")
    assert RunFolder.claim(tmp_path / "run", or_next=True).path.name == "run-1"


def test_a_folder_in_which_another_process_works_is_refused(tmp_path):
    folder = RunFolder.claim(tmp_path / "run", or_next=False)
    assert in_another_process(CLAIM, tmp_path / "run", 1) == "run-1"
    refused = CLAIM.replace("print(", "try: print(") + "\nexcept ValueError as error: print(error)"
    assert "is in use by another process" in in_another_process(refused, tmp_path / "run", 0)
    folder.release()


def test_any_number_of_starts_at_once_have_a_folder_each(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: RunFolder.claim(tmp_path / "run", or_next=True), range(32)))
    assert len({folder.path for folder in folders}) == 32
    for folder in folders:
        folder.release()
    assert not list(tmp_path.iterdir())


def test_a_run_that_did_not_begin_leaves_nothing(tmp_path):
    RunFolder.claim(tmp_path / "run", or_next=False).release()
    assert not (tmp_path / "run").exists()


def test_what_runs_in_a_folder_is_written_there(tmp_path):
    folder = RunFolder.reopen(used(tmp_path / "run"), called="resume")
    assert folder.record == {"window": {}}
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {"window": {}}
    assert not folder.has_artifact


def test_a_folder_without_a_run_cannot_be_gone_on_with(tmp_path):
    with pytest.raises(RunFolderError, match=r"resume=.*expected a run folder of train.py with .hydra/config.yaml"):
        RunFolder.reopen(tmp_path, called="resume")


def test_two_processes_do_not_go_on_with_the_same_run(tmp_path):
    folder = RunFolder.reopen(used(tmp_path / "run"), called="resume")
    with pytest.raises(RunFolderError, match=r"run=.* is in use by another process"):
        RunFolder.reopen(tmp_path / "run", called="run")
    folder.release()


def test_a_path_that_cannot_be_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="file/run cannot be a run folder"):
        RunFolder.claim(tmp_path / "file" / "run", or_next=False)
