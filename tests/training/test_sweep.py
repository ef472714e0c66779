"""The table of a sweep's jobs."""

import json
from types import SimpleNamespace

from reward.training.sweep import JobTable, jobs
from reward.training.terminal import console


def job(folder, *overrides, loss):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {override}\n" for override in overrides))
    metrics = {"reward model": {"log_loss": {"value": 2 * loss}, "auc": {"value": None}}}
    (folder / "metrics.json").write_text(json.dumps({"validation/loss": loss, "metrics": metrics}))


def test_each_job_is_a_line_with_what_sets_it_apart(tmp_path, capsys, monkeypatch):
    job(tmp_path / "10", "data=log", "encoder=gru", loss=0.25)
    job(tmp_path / "9", "data=log", "encoder=hstu", loss=0.5)
    (tmp_path / "11").mkdir()
    assert [it["folder"] for it in jobs(tmp_path)] == ["9", "10"]
    monkeypatch.setattr(console, "_width", 100)
    JobTable().on_multirun_end(SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=tmp_path))))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "encoder" in line] == [
        ["9", "encoder=hstu", "0.5000", "1.0000", "–"],
        ["10", "encoder=gru", "0.2500", "0.5000", "–"],
    ]


def test_at_other_moments_nothing_is_done(capsys):
    for moment in ("run_start", "run_end", "multirun_start", "job_start", "job_end", "compose_config"):
        getattr(JobTable(), f"on_{moment}")(config=None)
    assert capsys.readouterr().out == ""
