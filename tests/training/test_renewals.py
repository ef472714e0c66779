"""A whole run on renewals: trained, judged and told in renewals; resumed, judged again and scored."""

import json
import shutil

import polars as pl
import pytest
from renewals import end, service

import reward
from reward.__main__ import main
from reward.data.event_log import SchemaError
from reward.outcomes.event_within import EventWithin
from reward.training.command_line import RefusedError
from reward.training.folder import RunFolder
from reward.training.judging import evaluate
from reward.training.stages import Stages

HORIZON = 6
LOG = [
    "data.context=[]",
    f"data.end={end():%Y-%m-%d}",
    "split.train_days=24",
    "split.validation_days=6",
    "batches.batch_rows=256",
]
MAIN = [*LOG, "task=[renewed_within]", f"task.renewed_within.outcome.horizon_days={HORIZON}"]
pytestmark = pytest.mark.filterwarnings("ignore::reward.ArtifactWarning")


def written(folder, users):
    """A folder with a log and its renewals: seed 1, of settings that were chosen on seeds 0, 2, 4 and 6."""
    shown, renewed, _ = service(1, users=users)
    shown.write_parquet(folder / "events.parquet")
    renewed.write_parquet(folder / "renewals.parquet")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A log and its renewals."""
    return written(tmp_path_factory.mktemp("renewals"), users=300)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A log of a few users and their renewals, where numbers do not matter."""
    return written(tmp_path_factory.mktemp("few"), users=60)


def files(place):
    return [f"data.events={place / 'events.parquet'}", f"data.outcomes={{renewal:{place / 'renewals.parquet'}}}"]


@pytest.fixture
def run(place, trained):
    """A finished run, made once."""
    if not (place / "run").exists():
        stages, caught = trained(place / "run", *MAIN, *files(place), "evaluation.intervals.resamples=30")
        assert (stages.failed, caught) == ([], None)
    return place / "run"


def test_the_forecast_of_renewals_adds_up_and_knows_no_less_than_the_base_rate(run):
    found = json.loads((run / "metrics.json").read_text())
    model, base = (found["metrics"][name] for name in ("reward model", "base rate"))
    # on seeds 0, 2, 4 and 6 predicted over observed is .97 to 1.32, of both forecasts alike to .01, and losses to .0001
    ratio, usual = (it["active_days_ratio"]["value"] for it in (model, base))
    assert 0.7 < ratio < 1.4
    assert ratio == pytest.approx(usual, rel=0.03)
    assert model["log_loss"]["value"] < base["log_loss"]["value"] + 0.001
    assert found["unit"] == f"chance of renewal within {HORIZON} days"


def test_values_are_chances_and_rewards_are_effects_on_them(run, place):
    fn = reward.load(run / "reward")
    assert fn.outcome == EventWithin("renewal", HORIZON)
    events = pl.read_parquet(place / "events.parquet")
    scores = fn.score_events(events)
    assert scores["value_after"].is_between(0, 1).all()
    told = fn.distribution(events)
    never = told.filter(pl.col("outcome") == HORIZON + 1).sort("user_id")
    assert told["outcome"].n_unique() == HORIZON + 1
    last = scores.sort("timestamp").group_by("user_id").agg(pl.col("value_after").last()).sort("user_id")
    assert last["value_after"].to_numpy() == pytest.approx(1 - never["probability"].to_numpy(), abs=0.02)


def test_the_account_the_report_and_the_card_are_told_in_renewals(run):
    effects = reward.load(run / "reward").facts["effects"]
    assert effects["reason"] is None
    assert effects["points"]["one"] == "renewal"
    report = (run / "evaluation" / "report.html").read_text()
    for words in ("% of rows with renewals", "Time until renewal", f"chance of renewal within {HORIZON} days"):
        assert words in report
    assert "active days" not in report
    card = (run / "reward" / "README.md").read_text()
    assert f"# A reward signal in chance of renewal within {HORIZON} days" in card
    assert "renewals (95% interval" in card


def test_the_run_is_judged_again_by_the_same_numbers_where_the_file_moved(run, place, evaluation, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    shutil.copy(place / "renewals.parquet", tmp_path / "moved.parquet")
    folder = RunFolder.reopen(tmp_path / "run", called="run")
    settings = evaluation | {"moved": {"outcomes": {"renewal": str(tmp_path / "moved.parquet")}}}
    settings["evaluation"]["intervals"]["resamples"] = 30
    evaluate(folder, settings, Stages(lambda text: None, first=False))
    folder.release()
    first, again = (
        json.loads((it / "metrics.json").read_text())["metrics"] for it in (run, tmp_path / "run" / "evaluation")
    )
    assert again == first


def test_the_command_line_scores_a_log_without_renewals(run, place, tmp_path, capsys):
    out = tmp_path / "scored.parquet"
    told = ["score", "--artifact", str(run / "reward"), "--events", str(place / "events.parquet")]
    assert main([*told, "--out", str(out)]) == 0
    assert "scored in chance of renewal within" in " ".join(capsys.readouterr().err.split())
    assert pl.read_parquet(out)["reward"].std() > 0


def test_what_was_known_of_a_row_at_a_moment_cannot_be_told_without_renewals(run, place):
    fn = reward.load(run / "reward")
    with pytest.raises(SchemaError, match="as_of expected an outcome that exposures alone tell day by day"):
        fn.score_events(pl.read_parquet(place / "events.parquet"), as_of=end())


def test_a_run_is_not_resumed_on_renewals_that_changed(few, trained, tmp_path, monkeypatch):
    for name in ("events.parquet", "renewals.parquet"):
        shutil.copy(few / name, tmp_path / name)

    def crash(*arguments, **settings):
        raise RuntimeError("the judge is ill")

    with monkeypatch.context() as patched:
        patched.setattr("reward.training.run.evaluate_function", crash)
        stages, _ = trained(tmp_path / "run", *MAIN, *files(tmp_path))
    assert stages.failed == ["judging"]
    renewals = pl.read_parquet(tmp_path / "renewals.parquet")
    renewals.sort("timestamp")[50:].write_parquet(tmp_path / "renewals.parquet")
    with pytest.raises(RefusedError, match="its items or its outcome events, have changed"):
        trained(tmp_path / "run", f"resume={tmp_path / 'run'}")
    stages, caught = trained(
        tmp_path / "run",
        f"resume={tmp_path / 'run'}",
        f"data.outcomes={{renewal:{few / 'renewals.parquet'}}}",
    )
    assert (stages.failed, caught) == ([], None)


def test_renewals_are_predicted_beside_active_days(place, trained, tmp_path):
    stages, caught = trained(
        tmp_path / "run",
        *LOG,
        "horizon_days=5",
        "task=[active_days,renewed_within]",
        f"task.renewed_within.outcome.horizon_days={HORIZON}",
        *files(place),
    )
    assert (stages.failed, caught) == ([], None)
    fn = reward.load(tmp_path / "run" / "reward")
    assert fn.units == {"renewed_within": f"chance of renewal within {HORIZON} days"}
    scored = fn.score_events(pl.read_parquet(place / "events.parquet"), tasks=["renewed_within"])
    assert scored["renewed_within_after"].is_between(0, 1).all()
    further = json.loads((tmp_path / "run" / "metrics.json").read_text())["further"]["renewed_within"]
    assert further["reason"] is None
    assert 0.7 < further["slices"][0]["ratio"]["value"] < 1.4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["task.renewed_within.outcome.kind=renewals"],
            r"outcome.kind='renewals' \(did you mean 'renewal'\?\) expected one of the kinds",
        ),
        (["task.renewed_within.head.once=false"], "head.once expected true, for a value is chance of renewal within"),
        (
            ["task.renewed_within.objective._target_=reward.objectives.likelihood.trace_likelihood"],
            "trace_likelihood reads",
        ),
        (["data.outcomes=null"], r"outcome.kind='renewal' expected outcome events, and the log has none"),
        (["data.outcomes_end={renewal:2024-03-20}"], "outcome: events of the kind renewal are known until 2024-03-20"),
        (
            ["data.outcomes_end={renewal:soon}"],
            "data.outcomes_end: expected names with values, each a date or a moment",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_training(few, trained, tmp_path, overrides, message):
    with pytest.raises((RefusedError, ValueError), match=message):
        trained(tmp_path / "run", *MAIN, *files(few), *overrides)
    assert not (tmp_path / "run" / "reward").exists()


def test_rows_set_aside_are_kept_with_the_reason_and_strangers_are_said(place, trained, tmp_path, capsys):
    renewals = pl.read_parquet(place / "renewals.parquet")
    stranger = renewals.head(1).with_columns(user_id=pl.lit(10**6, pl.Int64))
    shutil.copy(place / "events.parquet", tmp_path / "events.parquet")
    pl.concat([renewals, renewals.head(2), stranger]).write_parquet(tmp_path / "renewals.parquet")
    stages, _ = trained(tmp_path / "run", *MAIN, *files(tmp_path), "trainer.max_epochs=1")
    assert stages.failed == []
    assert pl.read_parquet(tmp_path / "run" / "rejected_renewal.parquet").height == 2
    assert "1 of" in capsys.readouterr().out
