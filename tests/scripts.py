"""Scripts in processes of their own that are forked from one which has imported what takes seconds to import."""

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from subprocess import CompletedProcess

from figures import undrawn

ROOT = Path(__file__).parents[1]
TERMINAL = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONWARNINGS": "default"}
_SECRETS = ("WANDB_API_KEY",)
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["reward.training.run", "reward.training.judging", "reward.training.opening", "hydra.main", "wandb", "lightgbm"]
)


def start(script: str, *arguments: str, cwd: Path, **environment: str) -> CompletedProcess[str]:
    """`run` with an interpreter of its own, and some of its environment set."""
    told = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    asked = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(asked, cwd=cwd, env=told | environment, capture_output=True, text=True, check=False)


def run(script: str, *arguments: str, cwd: Path, drawn: bool = False) -> CompletedProcess[str]:
    """Run a script of the repository's root as a command: its exit code and what it printed.

    The process is forked from a server that has done nothing but import, so that no thread of polars or torch is lost.
    Figures of reports are empty where they are not to be ``drawn``.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS} | TERMINAL
    with tempfile.TemporaryDirectory() as place, _changed(environment):
        out, err = (Path(place) / name for name in ("out", "err"))
        told = (str(ROOT / script), list(map(str, arguments)), str(cwd), environment, drawn, str(out), str(err))
        process = _SERVER.Process(target=_work, args=told)
        process.start()
        process.join()
        return CompletedProcess([script, *arguments], process.exitcode or 0, out.read_text(), err.read_text())


@contextlib.contextmanager
def _changed(environment):
    """This process's environment, which the server takes over when it starts."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _work(script, arguments, cwd, environment, drawn, out, err):
    """What the forked process does."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv, sys.path[0] = [script, *arguments], str(ROOT)
    sys.warnoptions[:] = [environment["PYTHONWARNINGS"]]
    warnings.resetwarnings()
    warnings.simplefilter(environment["PYTHONWARNINGS"])
    try:
        with contextlib.nullcontext() if drawn else undrawn():
            runpy.run_path(script, run_name="__main__")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
