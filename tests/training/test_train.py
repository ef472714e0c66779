"""The whole path on a small log: training, resuming, judging, and what is said of a log that does not do."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scripts
import torch
import yaml
from safetensors.torch import load_file
from small_run import SMALL_RUN

import reward
from reward.data.event_log import EventLog
from reward.data.prepared import PreparedLog
from reward.data.split import split
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace
from reward.training.defaults import composed

ROOT = Path(__file__).parents[2]
SMALL = [
    *SMALL_RUN,
    "data.feedback=[click,listen_ms]",
    "data.end=2024-03-21T00:00:00",
    "trainer.max_epochs=3",
    "evaluation.intervals.resamples=20",
    "evaluation.intervals.min_slice_users=5",
]
LIGHT = ["evaluation.boosting=null", "causal.personal=null"]


def small_log(users=60, days=20, seed=0):
    draw = np.random.default_rng(seed)
    rate = draw.uniform(0.1, 0.9, users)
    user, day = np.nonzero(draw.random((users, days)) < rate[:, None])
    repeat = draw.integers(1, 4, len(user))
    user, day = np.repeat(user, repeat), np.repeat(day, repeat)
    seconds = day * 86_400 + draw.integers(0, 86_399, len(user))
    click = draw.random(len(user)) < 0.4
    return pl.DataFrame(
        {
            "user_id": user,
            "item_id": draw.integers(0, 25, len(user)),
            "timestamp": [datetime(2024, 3, 1, tzinfo=UTC) + timedelta(seconds=int(second)) for second in seconds],
            "click": click,
            "listen_ms": np.where(click, draw.exponential(60_000, len(user)), 0.0),
            "surface": draw.choice(["home", "search"], len(user)),
        }
    ).unique(["user_id", "item_id", "timestamp"], maintain_order=True)


command = scripts.run


def trained(folder, events, *arguments, cwd, drawn=False):
    told = [*SMALL, f"data.events={events}", f"hydra.run.dir={folder}", *arguments]
    done = command("train.py", *told, cwd=cwd, drawn=drawn)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def weights(folder):
    return load_file(folder / "reward" / "weights.safetensors")


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    small_log().write_parquet(folder / "events.parquet")
    return folder


@pytest.fixture(scope="module")
def run(place):
    trained(place / "run", place / "events.parquet", cwd=place, drawn=True)
    return place / "run"


def test_training_prints_at_most_25_lines_of_80_columns_and_the_run_folder_last(place):
    asked = [*SMALL, *LIGHT, "data.events=events.parquet", "hydra.run.dir=printed", "trainer.max_epochs=2"]
    done = scripts.start("train.py", *asked, cwd=place, OMP_NUM_THREADS="1", COLUMNS="80")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    folder = done.stdout.strip().splitlines()[-1]
    assert (place / folder).samefile(place / "printed")
    assert sum(max(-(-len(line) // 80), 1) for line in lines) <= 25, done.stdout + done.stderr
    for words in ("reward model", "Forecast: ", "Effects: ", "Next: ", "evaluation/report.html", "time: "):
        assert words in done.stdout
    assert "warn" not in done.stderr.lower()


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "encoder").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_encoder_becomes_a_scoring_function(place, file):
    takes = yaml.safe_load(file.read_text())
    small = [one for one in SMALL if not one.startswith("encoder.") or one[len("encoder.") :].split("=")[0] in takes]
    folder, events = place / file.stem, place / "events.parquet"
    told = [f"encoder={file.stem}", "trainer.max_epochs=1", f"data.events={events}", f"hydra.run.dir={folder}"]
    done = command("train.py", *small, *LIGHT, *told, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.warns(reward.ArtifactWarning, match="propensities"):
        fn = reward.load(folder / "reward")
    assert type(fn.network.encoder).__module__ == f"reward.encoders.{file.stem}"
    assert fn.score_events(pl.read_parquet(events))["value_exposed"].is_between(0, 5).all()


def test_a_run_folder_holds_what_the_readme_says(run):
    for name in ("reward/reward.json", "metrics.json", "checkpoints/last.ckpt", ".hydra/config.yaml"):
        assert (run / name).is_file(), name
    assert json.loads((run / "metrics.json").read_text())["metrics"]["reward model"]
    with pytest.warns(reward.ArtifactWarning, match="propensities"):
        fn = reward.load(run / "reward")
    assert fn.facts["window"]["train_end"] == "2024-03-13"
    assert fn.unit == "active days in the next 5 days"


def test_propensities_that_were_estimated_are_warned_of_in_the_file_in_the_card_and_at_load(run):
    found = json.loads((run / "reward" / "reward.json").read_text())["facts"]["effects"]
    assert found["propensities"] == "estimated"
    assert found["policy"]["items"] == 25
    assert found["balance"]["flagged"] in (True, False)
    assert found["interval"] is None or found["interval"][0] < found["slope"] < found["interval"][1]
    assert "Expect much less" in found["warning"]
    assert f"> **Warning.** {found['warning']}" in (run / "reward" / "README.md").read_text()
    with pytest.warns(reward.ArtifactWarning, match="Expect much less"):
        reward.load(run / "reward")
    assert pl.read_parquet(run / "effects.parquet").height == 25


def test_propensities_that_were_logged_are_not_warned_of(place):
    small_log().with_columns(propensity=pl.lit(1 / 25)).write_parquet(place / "logged.parquet")
    done = trained(place / "logged", place / "logged.parquet", *LIGHT, "trainer.max_epochs=1", cwd=place)
    found = reward.load(place / "logged" / "reward").facts["effects"]  # a warning would be an error here
    assert (found["propensities"], found["warning"], found["policy"]) == ("logged", None, None)
    assert found["balance"]["flagged"] is False
    assert "Warning" not in (place / "logged" / "reward" / "README.md").read_text()
    page = (place / "logged" / "evaluation" / "report.html").read_text()
    assert "with logged propensities" in page or "all estimates are the same" in page
    assert "No imbalance beyond chance" in page
    assert "Effects: " in done.stdout


def test_a_simulated_world_s_log_is_held_against_the_truth_and_again_when_it_is_judged_again(place):
    folder = place / "world"
    small = ["simulation.users=200", "simulation.days=40", "simulation.initial_items=30", "truth.parents_per_day=10"]
    size = ["encoder.width=16", "encoder.layers=1", "members=2", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    quick = [*size, *LIGHT, "logger=csv", "evaluation.intervals.resamples=20", "evaluation.logistic.strengths=[100]"]
    done = command("train.py", "data=world", *small, *quick, f"hydra.run.dir={folder}", cwd=place, drawn=True)
    assert done.returncode == 0, done.stdout + done.stderr
    known = pl.read_parquet(folder / "truth.parquet")
    assert known.height >= 10
    assert json.loads((folder / "world.json").read_text())["users"] == 200
    told = json.loads((folder / "metrics.json").read_text())["truth"]
    assert told["items"] == known.height
    wanted = np.corrcoef(known["reward"], known["effect"])[0, 1]
    assert told["correlation"]["learned reward"]["value"] == pytest.approx(wanted)
    assert "Against the truth" in (folder / "evaluation" / "report.html").read_text()
    assert (folder / "evaluation" / "truth.svg").read_text().startswith("<svg")
    assert "The learned reward " in (folder / "evaluation" / "report.html").read_text()
    judged = [it for it in quick if it.startswith("evaluation.")]
    again = command("evaluate.py", f"run={folder}", *judged, cwd=place)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((folder / "evaluation" / "metrics.json").read_text())["truth"] == told


def test_where_effects_cannot_be_estimated_a_sentence_says_why(tmp_path):
    log = PreparedLog.of(check(EventLog(small_log().lazy(), ("click",), 30, 0.0)).log)
    window = split(log.log, train_days=12, validation_days=4)
    outcome = ActivityTrace(5, scope="item", active_if="click")
    found, personal = reward.training.causal.estimate_effects(log, outcome, window, None, tmp_path)
    assert personal is None
    assert found.warning is None
    told = "days back to the same item in the next 5 days"
    assert found.reason.startswith(
        "they need an outcome of the user that is told day by day, such as task=[active_days]"
    )
    assert found.reason.endswith(f"and it tells {told}")
    assert not (tmp_path / "effects.parquet").exists()


def test_a_world_too_short_for_its_truth_is_a_sentence_and_not_a_lost_run(tmp_path, capsys):
    log = check(EventLog(small_log().lazy(), ("click",), 30, 0.0)).log
    window = split(log, train_days=12, validation_days=4)
    (tmp_path / "effects.parquet").touch()
    config = composed("train", ["data=world", "simulation.days=24", "simulation.users=20"])
    reward.training.causal.compare_with_truth(log, window, config, tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert "What items truly do was not measured: the truth expected a log of more than 24 days" in said
    assert not (tmp_path / "truth.parquet").exists()


def test_evaluating_a_run_writes_metrics_and_a_report(run, place):
    done = command(
        "evaluate.py",
        f"run={run}",
        "evaluation.intervals.resamples=20",
        "evaluation.intervals.min_slice_users=5",
        cwd=place,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (run / "evaluation" / "report.html").read_text()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())["metrics"]
    assert {"reward model", "activity only", "feedback only", "base rate", "LightGBM"} <= metrics.keys()


def test_policies_and_past_tests_are_judged_where_they_are_given(place):
    folder, logged = place / "judged", place / "judged.parquet"
    events = small_log().with_columns(propensity=pl.lit(1 / 25))
    events.write_parquet(logged)
    trained(folder, logged, "trainer.max_epochs=1", *LIGHT, cwd=place)
    assert json.loads((folder / "metrics.json").read_text())["policies"]["weights"][0]["policy"] == "shown by chance"
    keys = events.select("user_id", "item_id", "timestamp")
    keys.with_columns(mine=pl.when(pl.col("item_id") < 5).then(0.2).otherwise(0.0)).write_parquet(
        place / "mine.parquet"
    )
    past_tests().write_parquet(place / "past.parquet")
    quick = ["evaluation.boosting=null", "evaluation.logistic.strengths=[100]", "evaluation.intervals.resamples=20"]
    given = [f"policies={place / 'mine.parquet'}", f"experiments={place / 'past.parquet'}", "north_star=days"]
    done = command("evaluate.py", f"run={folder}", *quick, *given, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "evaluation" / "metrics.json").read_text())
    assert [it["policy"] for it in found["policies"]["weights"]][-1] == "mine"
    assert found["experiments"]["early"]["tests"] == 12
    page = (folder / "evaluation" / "report.html").read_text()
    assert all(
        f"<h2>{name}</h2>" in page for name in ("Other policies", "Past experiments", "How early is early enough")
    )
    keys.head(3).with_columns(mine=0.1).write_parquet(place / "few.parquet")
    done = command("evaluate.py", f"run={folder}", *quick, f"policies={place / 'few.parquet'}", cwd=place)
    assert done.returncode == 1
    assert "expected a row for each of the" in done.stderr
    assert "Traceback" not in done.stderr


def past_tests(tests=12, users=40, days=6):
    draw = np.random.default_rng(1)
    size = tests * users
    return pl.DataFrame(
        {
            "experiment": np.repeat(np.arange(tests), users),
            "arm": np.tile(["control", "new"], size // 2),
            "user_id": np.arange(size),
            "plays": draw.normal(size=size),
            "days": draw.integers(0, 2, (size, days)),
        }
    )


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(run, place):
    trained(place / "again", place / "events.parquet", *LIGHT, cwd=place)
    trained(place / "other", place / "events.parquet", *LIGHT, "seed=1", cwd=place)
    assert_same(weights(run), weights(place / "again"))
    assert any(not torch.equal(tensor, weights(place / "other")[name]) for name, tensor in weights(run).items())


def test_training_on_the_whole_log_equals_training_on_a_copy_cut_where_validation_ends(run, place):
    # one test day is left in the copy, since a run judges itself; its rows are others than the whole log's
    cut = datetime(2024, 3, 17, tzinfo=UTC)
    events = small_log()
    other_future = events.filter(pl.col("timestamp") >= cut).with_columns(
        pl.col("timestamp") + timedelta(seconds=1),
        pl.lit(False).alias("click"),
        item_id=pl.col("item_id") + 1000,
        listen_ms=pl.lit(1e6),
        surface=pl.lit("elsewhere"),
    )
    half = other_future.filter(pl.col("user_id") % 2 == 0, pl.col("timestamp") < cut + timedelta(days=2, hours=3))
    pl.concat([events.filter(pl.col("timestamp") < cut), half]).write_parquet(place / "cut.parquet")
    trained(place / "cut", place / "cut.parquet", *LIGHT, "data.end=2024-03-19T03:00:00", cwd=place)
    assert_same(weights(run), weights(place / "cut"))


def test_a_run_stopped_after_an_epoch_resumes_to_the_weights_of_an_unbroken_one(run, place):
    killed, script = place / "killed", place / "kill.py"
    script.write_text(
        "import os, runpy\n"
        "from pytorch_lightning.callbacks import ModelCheckpoint\n"
        "stop = lambda self, trainer, model: os._exit(9) if trainer.current_epoch == 1 else None\n"
        "ModelCheckpoint.on_train_epoch_start = stop\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
    )
    events = f"data.events={place / 'events.parquet'}"
    died = command(script, *SMALL, *LIGHT, events, f"hydra.run.dir={killed}", cwd=place)
    assert died.returncode == 9, died.stdout + died.stderr
    assert not (killed / "reward").exists()
    assert torch.load(killed / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    done = command("train.py", f"resume={killed}", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(weights(run), weights(killed))


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        (lambda log: log.drop("click"), [], "events has no column 'click'"),
        (lambda log: log.head(0), [], "events is empty"),
        (lambda log: log.filter(pl.col("user_id") == pl.col("user_id").max()), [], "1 user"),
        (lambda log: log, ["data.feedback=[clik,listen_ms]"], "no column 'clik' (did you mean 'click'"),
        (lambda log: log, ["data.end=null", "split.train_days=40"], "too short for its split"),
        (lambda log: log, ["split.train_days=1"], "no outcome can be observed"),
        (lambda log: log.with_columns(pl.col("listen_ms") - 1), [], "listen_ms is not a finite number of at least 0"),
        (lambda log: log.with_columns(pl.col("timestamp").dt.epoch("ms")), ["data.timestamp_unit=us"], "1970"),
        (lambda log: log.with_columns(pl.col("timestamp").dt.epoch("ms")), ["data.timestamp_unit=s"], "year 5"),
        (lambda log: log, ["+encoder.depth=3"], "takes no depth"),
    ],
)
def test_a_log_or_config_that_does_not_do_is_one_clear_error(change, overrides, message, tmp_path):
    change(small_log()).write_parquet(tmp_path / "events.parquet")
    done = command(
        "train.py", *SMALL, f"data.events={tmp_path / 'events.parquet'}", "hydra.run.dir=run", *overrides, cwd=tmp_path
    )
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "reward").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["transformer", "hstu", "mamba"])
def test_on_two_devices_all_but_the_training_is_done_once(place, encoder):
    folder = place / f"two-{encoder}"
    settings = ["trainer.devices=2", "trainer.max_epochs=1", f"encoder={encoder}", "consistency=td"]
    done = trained(folder, place / "events.parquet", *settings, cwd=place)
    assert done.stdout.count("events of") == 1
    assert (folder / "metrics.csv").read_text().count("\n") == 2
    assert json.loads((folder / "metrics.json").read_text())["metrics"]["reward model"]


def test_a_folder_that_holds_a_run_is_refused_to_another_and_settings_beside_resume_by_name(run, place):
    before = weights(run)
    events = f"data.events={place / 'events.parquet'}"
    for arguments, message in (
        ([*SMALL, events, f"hydra.run.dir={run}", "seed=1"], "holds another run"),
        ([f"resume={run}", "encoder=gru"], "cannot be changed to encoder"),
    ):
        done = command("train.py", *arguments, cwd=place)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert_same(before, weights(run))


@pytest.mark.parametrize(("script", "argument"), [("train.py", "resume"), ("evaluate.py", "run")])
def test_a_run_folder_that_is_none_is_named_and_not_made(script, argument, tmp_path):
    done = command(script, f"{argument}={tmp_path / 'nowhere'}", cwd=tmp_path)
    assert done.returncode != 0
    assert f"{argument}={tmp_path / 'nowhere'}: expected a run folder" in done.stderr
    assert not (tmp_path / "nowhere").exists()
