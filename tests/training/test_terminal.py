"""Warnings on a terminal."""

import sys
import warnings

import pytest

from reward.scoring.artifact import ArtifactWarning
from reward.training.fitting import progress
from reward.training.terminal import own_warnings_only


@pytest.fixture
def said(monkeypatch):
    """What is said of warnings, with nothing set by Python's -W."""
    found = []
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        own_warnings_only(found.append)
        yield found


def test_a_warning_of_ours_is_a_sentence_and_one_of_a_library_is_not_shown(said):
    warnings.warn("the propensities were estimated", ArtifactWarning, stacklevel=1)
    warnings.warn("the dataloader does not have many workers", UserWarning, stacklevel=1)
    assert said == ["Warning: the propensities were estimated"]


def test_python_s_own_option_shows_all(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with warnings.catch_warnings():
        before = warnings.showwarning
        own_warnings_only(print)
        assert warnings.showwarning is before


def test_a_log_file_gets_no_progress_bar():
    assert progress(terminal=False) == []
    assert len(progress(terminal=True)) == 1
