import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from reward.data import kuairand
from reward.data.event_log import EventLog, SchemaError
from reward.data.validation import check

CONF = Path(__file__).parents[2] / "conf" / "data"
PURE = Path(__file__).parent / "fixtures" / "KuaiRand-Pure"
STANDARD = ("log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08")
RANDOM = "log_random_4_22_to_5_08"
START, END = datetime(2022, 4, 24, 16, tzinfo=UTC), datetime(2022, 5, 8, 16, tzinfo=UTC)


@pytest.fixture(scope="module")
def bundled() -> EventLog:
    log: EventLog = instantiate(OmegaConf.load(CONF / "kuairand.yaml").data)
    return log


def official(folder: Path, **options: Any) -> EventLog:
    settings = {
        "log_files": STANDARD,
        "feedback": ["is_click", "play_time_ms"],
        "context": ["tab"],
        "item_features": ["tag", "music_type", "video_duration"],
        "session_gap_minutes": 30,
        "max_rejected_share": 0.0,
    }
    return kuairand.official(folder, **settings | options)


def copied(version: str, to: Path, parts: int = 1) -> Path:
    """The fixture under the file names of another version, its standard logs in ``parts`` parts."""
    (to / "data").mkdir()
    for path in (PURE / "data").iterdir():
        stem = path.stem.replace("pure", version)
        shutil.copy(path, to / "data" / f"{stem}.csv")
        if parts > 1 and path.stem.startswith("log_standard"):
            header, *rows = (to / "data" / f"{stem}.csv").read_text().splitlines()
            (to / "data" / f"{stem}.csv").unlink()
            for part in range(parts):
                text = "\n".join([header, *rows[part::parts], ""])
                (to / "data" / f"{stem}_part{part + 1}.csv").write_text(text)
    return to


def test_the_bundled_log_passes_the_check_and_loses_only_exact_repeats(bundled):
    checked = check(bundled)
    assert checked.log.events.select(pl.len()).collect().item() == 222_303
    assert checked.rejected.height == 58
    assert checked.rejected["reason"].unique().to_list() == ["another row has the same user_id, item_id and timestamp"]


def test_the_bundled_log_is_of_14_whole_days_in_beijing(bundled):
    moments = bundled.events.select("timestamp").collect()["timestamp"]
    assert moments.len() == 222_361
    assert moments.dt.convert_time_zone("Asia/Shanghai").dt.date().n_unique() == 14
    assert moments.min() >= START
    assert moments.max() < END == bundled.end
    assert bundled.timezone == "Asia/Shanghai"


def test_141_events_of_the_evening_before_are_left_out_of_the_bundled_log():
    stored = pl.scan_parquet(Path(kuairand.__file__).parent / "kuairand_pure" / "events.parquet")
    assert stored.filter(pl.col("timestamp") < START).select(pl.len()).collect().item() == 141


def test_prior_activity_was_known_before_the_bundled_log_starts(bundled):
    users = pl.read_parquet(Path(kuairand.__file__).parent / "kuairand_pure" / "users.parquet")
    assert users["prior_last_event"].max() < START
    first = bundled.events.filter(pl.col("user_id") == 0).first().collect()
    assert first["prior_events"].item() == 9.0
    last = datetime(2022, 4, 22, 8, 24, 38, 629_000, tzinfo=UTC)
    assert first["prior_gap_days"].item() == pytest.approx((START - last).total_seconds() / 86_400)
    unknown = bundled.events.select((pl.col("prior_events").is_null() == pl.col("prior_gap_days").is_null()).all())
    assert unknown.collect().item()


def test_the_bundled_contexts_and_item_features_are_of_the_promised_kinds(bundled):
    log = check(bundled).log
    kinds = log.events.select(log.context).collect_schema()
    assert kinds == {"tab": pl.String, "prior_events": pl.Float64, "prior_gap_days": pl.Float64}
    kinds = log.items.collect_schema()
    assert {name for name, dtype in kinds.items() if dtype == pl.Float64} == {"video_duration"}
    assert kinds["author_id"] == pl.String
    assert "author_id" not in log.item_features
    values = log.items.select("tag", "music_type").collect()
    assert not values["tag"].str.contains(",").any()
    assert set(values["music_type"].unique()) == {None, "4", "7", "8", "9", "11"}


def test_the_bundled_log_leaves_sessions_to_be_derived(bundled):
    assert {"session_id", "position", "propensity"}.isdisjoint(bundled.events.collect_schema())


@pytest.mark.parametrize("folder", [PURE, PURE / "data"])
def test_the_official_pure_files_are_joined_without_the_evening_before(folder):
    checked = check(official(folder))
    assert checked.rejected.is_empty()
    found = checked.log.events.collect()
    assert found.select("user_id", "item_id", "is_click", "play_time_ms", "tab").rows() == [
        (1, 10, 1.0, 20000.0, "1"),
        (1, 11, 0.0, 1200.0, "1"),
        (1, 12, 0.0, 0.0, "1"),
        (2, 12, 1.0, 9000.0, "4"),
        (2, 10, 1.0, 30000.0, "0"),
    ]
    assert found["timestamp"][1] == datetime(2022, 4, 8, 1, 1, 0, 500_000, tzinfo=UTC)
    assert checked.log.end == END
    assert checked.log.items.select("item_id", "tag", "music_type", "video_duration", "author_id").collect().rows() == [
        (10, "39", "9", 30000.0, "501"),
        (11, "12", "4", None, "502"),
        (12, None, None, 40000.0, "501"),
    ]


@pytest.mark.parametrize(("version", "parts"), [("1k", 1), ("27k", 2)])
def test_the_official_files_of_the_other_versions_hold_the_same_log(version, parts, tmp_path):
    other = check(official(copied(version, tmp_path, parts))).log
    assert other.events.collect().equals(check(official(PURE)).log.events.collect())


def test_the_official_log_ends_where_its_last_file_ends():
    assert official(PURE, log_files=STANDARD[:1]).end == datetime(2022, 4, 21, 16, tzinfo=UTC)


def test_whether_a_video_was_random_can_be_a_context():
    log = check(official(PURE, log_files=[*STANDARD, RANDOM], context=["is_rand"])).log
    assert log.events.collect()["is_rand"].to_list() == ["0", "0", "0", "0", "1", "0"]


def test_an_implausible_official_time_is_counted_and_not_filtered_out(tmp_path):
    path = copied("1k", tmp_path) / "data" / "log_standard_4_22_to_5_08_1k.csv"
    path.write_text(path.read_text().replace("1650587400000", "1650587400"))
    with pytest.raises(SchemaError, match=r"1 row\(s\): timestamp is before 1990 .* on 2022-04-22"):
        check(official(tmp_path))


@pytest.mark.parametrize("logs", [[], ["log_standard_4_22_to_5_08", "log_standard_5_09"]])
def test_an_unknown_official_log_is_refused(logs):
    with pytest.raises(
        SchemaError, match=r"log_files=\[.*\]: expected one or more of log_standard_4_08_to_4_21, log_st"
    ):
        official(PURE, log_files=logs)


def test_missing_official_files_are_listed_by_version(tmp_path):
    (copied("1k", tmp_path) / "data" / "video_features_basic_1k.csv").unlink()
    pattern = (
        r"data holds all the files of no version; expected those of exactly one: .*"
        r"\n- pure: log_standard_4_08_to_4_21_pure.csv, log_standard_4_22_to_5_08_pure.csv, video_features_basic_pure"
        r".csv\n- 1k: video_features_basic_1k.csv"
        r"\n- 27k: log_standard_4_08_to_4_21_27k_part1.csv, log_standard_4_08_to_4_21_27k_part2.csv, "
    )
    with pytest.raises(SchemaError, match=pattern):
        official(tmp_path)


def test_a_folder_of_two_versions_is_refused(tmp_path):
    shutil.copytree(PURE / "data", copied("1k", tmp_path) / "data", dirs_exist_ok=True)
    with pytest.raises(SchemaError, match=r"holds all the files of pure and of 1k; expected those of exactly one"):
        official(tmp_path)


def test_a_damaged_official_file_is_named(tmp_path):
    path = copied("1k", tmp_path) / "data" / "log_standard_4_22_to_5_08_1k.csv"
    path.write_text(path.read_text().replace("1652018400000", "half past"))
    with pytest.raises(SchemaError, match=r"events \[.*\] cannot be read: "):
        check(official(tmp_path))


def test_an_empty_official_file_is_named(tmp_path):
    path = copied("1k", tmp_path) / "data" / "video_features_basic_1k.csv"
    path.write_text("")
    with pytest.raises(SchemaError, match=r"video_features_basic_1k.csv cannot be read: "):
        official(tmp_path)
