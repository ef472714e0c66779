"""Whole runs on logs in which hardly anything differs: each is trained on and judged, or refused in a sentence."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from benchmarks.kill_and_resume import small_log
from reward.training.command_line import RefusedError

START = datetime(2024, 3, 1, tzinfo=UTC)


def present(days_of):
    """Two exposures on each of a user's days."""
    draw = np.random.default_rng(0)
    rows = [
        (user, int(draw.integers(0, 25)), START + timedelta(days=day, seconds=int(draw.integers(0, 86_399))))
        for user in range(40)
        for day in days_of(user)
        for _ in range(2)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return frame.with_columns(click=pl.Series(draw.random(len(rows)) < 0.4), surface=pl.lit("home"))


LOGS = {
    "everybody comes every day": lambda: present(lambda user: range(20)),
    "nobody comes back": lambda: present(lambda user: [user % 20]),
    "one item": lambda: small_log().with_columns(item_id=pl.lit(7)),
    "every item once": lambda: small_log().with_columns(item_id=pl.int_range(pl.len())),
    "no click": lambda: small_log().with_columns(click=pl.lit(value=False)),
    "clicks alone": lambda: small_log().with_columns(click=pl.lit(value=True)),
    "a context of nulls": lambda: small_log().with_columns(surface=pl.lit(None, pl.String)),
    "all at midnight": lambda: small_log().with_columns(pl.col("timestamp").dt.truncate("1d")),
    "propensities of a placeholder": lambda: small_log().with_columns(propensity=pl.lit(1.0)),
    "propensities whose weights overflow": lambda: small_log().with_columns(propensity=pl.lit(1e-300)),
    "a row of 1990": lambda: pl.concat(
        [
            small_log(),
            small_log().head(1).with_columns(timestamp=pl.lit(START.replace(year=1990)), user_id=pl.lit(999)),
        ],
        how="vertical_relaxed",
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_run_ends_well(name, trained, tmp_path):
    log = LOGS[name]().unique(["user_id", "item_id", "timestamp"], maintain_order=True)
    log.write_parquet(tmp_path / "log.parquet")
    stages, caught = trained(tmp_path / "run", f"data.events={tmp_path / 'log.parquet'}")
    assert (stages.failed, caught) == ([], None)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    assert (tmp_path / "run" / "evaluation" / "report.html").is_file()


def test_propensities_that_cannot_be_right_weight_no_policy(trained, tmp_path):
    small_log().with_columns(propensity=pl.lit(1e-300)).write_parquet(tmp_path / "log.parquet")
    trained(tmp_path / "run", f"data.events={tmp_path / 'log.parquet'}")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "policies" not in metrics
    assert "none should be that unlikely" in metrics["no policies"] or "never seen" in metrics["no policies"]


def test_a_log_of_two_users_is_refused_before_training(trained, tmp_path):
    small_log().filter(pl.col("user_id") < 2).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(RefusedError, match="the split has"):
        trained(tmp_path / "run", f"data.events={tmp_path / 'log.parquet'}")
    assert not (tmp_path / "run").exists()
