"""Stages of a run: timed, and where one cannot be done the others stand."""

import json

from reward.data.event_log import SchemaError
from reward.training.stages import Stages


def test_a_stage_that_the_log_does_not_allow_is_said_and_is_no_failure(tmp_path):
    said = []
    stages = Stages(said.append)

    def judging():
        raise SchemaError("the test days have no outcome")

    assert stages.attempt("judging", judging, folder=tmp_path) is None
    assert said == ["Judging cannot be done on this log: the test days have no outcome"]
    assert (stages.failed, stages.reasons) == ([], {"judging": "the test days have no outcome"})
    assert not list(tmp_path.iterdir())


def test_a_stage_that_fails_leaves_its_traceback_in_the_run_folder_and_one_sentence(tmp_path):
    said = []
    stages = Stages(said.append)
    assert stages.attempt("effects", lambda: 1 / 0, folder=tmp_path) is None
    assert stages.failed == ["effects"]
    assert "Effects failed with ZeroDivisionError: division by zero. What was done before it stands" in said[0]
    assert "ZeroDivisionError" in (tmp_path / "effects-failed.txt").read_text()


def test_what_a_stage_gives_is_given_back():
    assert Stages(print).attempt("report", lambda: 3, folder=None) == 3


def test_time_is_told_by_stage_in_one_line_and_kept_for_each_process(tmp_path):
    for _ in range(2):
        stages = Stages(print, first=False)
        with stages.timed("training"):
            pass
        with stages.timed("training"):
            pass
        stages.write(tmp_path)
        assert stages.line().startswith("time: training 0.0 s; 0 s in all")
    kept = json.loads((tmp_path / "timing.json").read_text())["processes"]
    assert len(kept) == 2
    assert kept[0]["stages"].keys() == {"training"}
    assert kept[0]["stages"]["training"].keys() == {"wall_s", "cpu_s"}


def test_what_the_process_did_before_counts_as_starting():
    assert "starting" in Stages(print).line()
