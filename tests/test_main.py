import re
from datetime import UTC, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reward.__main__ import main
from reward.scoring.artifact import load, save
from reward.scoring.function import RewardFunction
from reward.scoring.prediction import SCORES

NOW = datetime(2024, 4, 3, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def events(log):
    return log.events.filter(pl.col("user_id") < 8).collect().sample(fraction=1, shuffle=True, seed=0)


@pytest.fixture
def place(network_of, features, outcome, events, tmp_path):
    """A folder with an artefact and a log."""
    fn = RewardFunction(network_of(), features, {"active_days": outcome}, max_events=64, timestamp_unit=None, facts={})
    save(fn, tmp_path / "reward")
    events.write_parquet(tmp_path / "events.parquet")
    return tmp_path


@pytest.fixture
def score(place):
    def run(*options, **changes):
        paths = {
            "artifact": place / "reward",
            "events": place / "events.parquet",
            "out": place / "out" / "scored.parquet",
        }
        given = [text for name, path in (paths | changes).items() for text in (f"--{name}", str(path))]
        return main(["score", *given, *options])

    return run


def draw(place, user):
    paths = {"artifact": place / "reward", "events": place / "events.parquet", "out": place / "user.svg"}
    return main(
        ["draw", *(text for name, path in paths.items() for text in (f"--{name}", str(path))), "--user", str(user)]
    )


def scored(place):
    assert [path.name for path in (place / "out").iterdir()] == ["scored.parquet"]
    return pl.read_parquet(place / "out" / "scored.parquet")


def test_a_log_is_written_with_its_scores(place, score, events, capsys):
    assert score() == 0
    found = scored(place)
    assert_frame_equal(found, load(place / "reward").score_events(events), check_exact=True)
    assert found.columns == [*events.columns, *SCORES]
    said = " ".join(capsys.readouterr().err.split())
    fn = load(place / "reward")
    users, unknown = events["user_id"].n_unique(), fn.unknown_items(events["item_id"])
    assert f"{events.height} events of {users} users scored in active days in the next 7 days; {unknown} show" in said
    assert said.endswith("scored.parquet")


def test_a_folder_of_files_is_one_log(place, score, events):
    (place / "parts").mkdir()
    events[:100].write_parquet(place / "parts" / "a.parquet")
    events[100:].write_parquet(place / "parts" / "b.parquet")
    assert score(events=place / "parts") == 0
    assert_frame_equal(scored(place).select(events.columns), events)


@pytest.mark.parametrize("text", ["2024-04-03T09:30:00", "2024-04-03T11:30:00+02:00"])
def test_what_was_known_at_a_moment_is_written_too(place, score, events, text):
    assert score("--as-of", text) == 0
    expected = load(place / "reward").score_events(events, as_of=NOW)
    assert_frame_equal(scored(place), expected, check_exact=True)
    assert 0 < expected["value_as_of"].null_count() < events.height


def test_new_items_and_the_first_day_are_read(place, score, events, capsys):
    table = pl.DataFrame({"item_id": [500], "genre": ["b"], "minutes": [90.0], "vector": [[3.0, -3.0, 3.0]]})
    table.write_parquet(place / "items.parquet")
    new = events.with_columns(item_id=pl.lit(500))
    new.write_parquet(place / "new.parquet")
    assert (
        score("--items", str(place / "items.parquet"), "--history-start", "2024-03-25", events=place / "new.parquet")
        == 0
    )
    fn = load(place / "reward")
    start = datetime(2024, 3, 25).date()
    expected = fn.score_events(new, items_table=table, history_start=start)
    assert_frame_equal(scored(place), expected, check_exact=True)
    assert (expected["reward"] - fn.score_events(new)["reward"]).abs().max() > 1e-6
    assert f"{events.height} show items that training did not know" in " ".join(capsys.readouterr().err.split())


def broken(place):
    content = (place / "events.parquet").read_bytes()
    (place / "events.parquet").write_bytes(content[: len(content) // 2])


def without_clicks(place):
    pl.read_parquet(place / "events.parquet").drop("click").write_parquet(place / "events.parquet")


def with_a_flaw(place):
    frame = pl.read_parquet(place / "events.parquet")
    frame.with_columns(click=-pl.col("click") - 1).write_parquet(place / "events.parquet")


def without_weights(place):
    (place / "reward" / "weights.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (broken, "SchemaError: --events .*events.parquet cannot be read: .*damaged or unfinished"),
        (lambda place: (place / "events.parquet").unlink(), "SchemaError: --events at .*events.parquet"),
        (without_clicks, "SchemaError: .*events has no column 'click'"),
        (with_a_flaw, "SchemaError: .*events cannot be scored: .*click is not a finite number"),
        (without_weights, "(Artifact|Missing)Error: .*missing weights.safetensors"),
    ],
    ids=["broken", "no log", "no column", "a flaw", "no weights"],
)
def test_what_cannot_be_scored_is_said_and_nothing_is_written(place, score, capsys, damage, message):
    damage(place)
    assert score() == 2
    out, err = capsys.readouterr()
    assert re.search(f"(?s){message}", err)
    assert "Traceback" not in err
    assert out == ""
    assert not (place / "out").exists()


@pytest.mark.parametrize("device", ["abacus", "cuda:77"])
def test_a_device_that_is_not_there_is_said(place, score, capsys, device):
    assert score("--device", device) == 2
    assert f"ValueError: --device {device} expected a device that torch can use here" in capsys.readouterr().err
    assert not (place / "out").exists()


def test_an_items_table_that_cannot_be_read_is_named(place, score, capsys):
    assert score("--items", str(place / "nothing.parquet")) == 2
    assert "--items" in capsys.readouterr().err
    assert not (place / "out").exists()


def test_a_failure_while_writing_leaves_no_scratch_file_and_the_old_result(place, score, monkeypatch):
    (place / "out").mkdir()
    (place / "out" / "scored.parquet").write_text("old")

    def fail(frame, path):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    assert score() == 2
    assert [path.name for path in (place / "out").iterdir()] == ["scored.parquet"]
    assert (place / "out" / "scored.parquet").read_text() == "old"


def of_user(change):
    def damage(place):
        pl.read_parquet(place / "events.parquet").with_columns(change).write_parquet(place / "events.parquet")

    return damage


def without_users(place):
    pl.read_parquet(place / "events.parquet").rename({"user_id": "who"}).write_parquet(place / "events.parquet")


@pytest.mark.usefixtures("drawn_figures")
def test_a_user_is_drawn(place):
    user = pl.read_parquet(place / "events.parquet")["user_id"][0]
    assert draw(place, user) == 0
    assert f"user {user}" in (place / "user.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_users, r"SchemaError: --events .*events.parquet has no column 'user_id'; its columns are .*who"),
        (of_user(pl.concat_list("user_id")), r"has 'user_id' as List\(Int64\): expected integers or strings, cast it"),
        (of_user(pl.lit(b"\xff").alias("user_id")), "has 'user_id' as Binary: expected integers or strings"),
        (of_user(pl.lit(None).alias("user_id")), "--user 1: expected a user of the log"),
        (broken, "SchemaError: --events .*events.parquet cannot be read: .*damaged or unfinished"),
        (lambda place: (place / "events.parquet").unlink(), "SchemaError: --events at .*events.parquet"),
    ],
    ids=["no column", "lists", "bytes", "nulls", "broken", "no log"],
)
def test_a_log_whose_users_cannot_be_read_is_said_in_a_sentence_and_nothing_is_drawn(place, capsys, damage, message):
    damage(place)
    assert draw(place, 1) == 2
    out, err = capsys.readouterr()
    assert re.search(message, err)
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not (place / "user.svg").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"]])
def test_help_is_given(capsys, arguments):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    assert "score" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["score"],
        ["score", "--artifact", "a", "--events", "e", "--out", "o", "--as-of", "soon"],
        ["score", "--artifact", "a", "--events", "e", "--out", "o", "--as-of", "0001-01-01T00:00:00+14:00"],
        ["score", "--artifact", "a", "--events", "e", "--out", "o", "--as-of", "9999-12-31T23:59:59-14:00"],
        ["score", "--artifact", "a", "--events", "e", "--out", ""],
        ["draw", "--artifact", "a", "--events", "e", "--user", "1", "--out", "."],
    ],
)
def test_a_command_line_that_cannot_be_read_is_refused(capsys, arguments):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: python -m reward" in capsys.readouterr().err


def test_what_the_system_refuses_to_write_is_said(place, score, capsys):
    (place / "file").write_text("")
    assert score(out=place / "file" / "scored.parquet") == 2
    assert str(place / "file") in capsys.readouterr().err
