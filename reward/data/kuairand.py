"""KuaiRand, a short-video app's feed with many kinds of feedback: the packaged two weeks, and the published files.

Source: Gao et al., KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos, CIKM 2022.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from importlib import resources
from os import PathLike
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from reward.columns import ITEM, TIMESTAMP, USER
from reward.data.event_log import EventLog, SchemaError, reading
from reward.data.parquet import columns

_TIMEZONE = "Asia/Shanghai"


def _midnight(month: int, day: int) -> datetime:
    return datetime(2022, month, day, tzinfo=ZoneInfo(_TIMEZONE)).astimezone(UTC)


_PERIODS = {  # each published log's first midnight and the one after its last day
    "log_standard_4_08_to_4_21": (_midnight(4, 8), _midnight(4, 22)),
    "log_standard_4_22_to_5_08": (_midnight(4, 22), _midnight(5, 9)),
    "log_random_4_22_to_5_08": (_midnight(4, 22), _midnight(5, 9)),
}
_PARTS = {  # files of more than one part, by version
    "pure": {},
    "1k": {},
    "27k": {"log_standard_4_08_to_4_21": 2, "log_standard_4_22_to_5_08": 2},
}
_ITEMS = "video_features_basic"


def bundled(
    *,
    feedback: Iterable[str],
    context: Iterable[str],
    item_features: Iterable[str],
    session_gap_minutes: float,
    max_rejected_share: float,
    click: str | None = None,
) -> EventLog:
    """The packaged log: KuaiRand-Pure's standard feed, 2022-04-25 to 2022-05-08 in Beijing, 14 whole days.

    The authors cut days by a date that can be later than the event's own time, around midnight. So 141 of the 222,502
    rows happened late on 2022-04-24, a day of which nothing else is here: they are left out, which leaves 222,361.
    For the same reason the last hour of 2022-05-08 lacks about as many.

    Feedback: ``is_click``, ``long_view``, ``is_like``, ``is_follow``, ``is_comment``, ``is_forward``, ``is_hate``,
    ``is_profile_enter`` (0/1), ``play_time_ms``, ``profile_stay_time`` and ``comment_stay_time`` (milliseconds).
    Context: ``tab``, the surface, and two numbers from the user's 16 days before the log: ``prior_events``, the
    exposures, and ``prior_gap_days``, from the last of them to the log's first midnight; both null where there was
    none. Item features: ``video_type``, ``upload_type``, ``music_type``, ``tag`` (the first of a video's tags),
    ``author_id`` and, a number, ``video_duration`` (milliseconds, null where unknown).

    The log has no propensities, no position and no ``session_id``.

    Args:
        feedback: some of the feedback columns above.
        context: some of the context columns above.
        item_features: some of the item features above.
        session_gap_minutes: idleness after which a new session starts.
        max_rejected_share: share of rows that may be set aside before the log is refused.
        click: the feedback that says that a video was taken up; None: ``is_click``, where it is named.

    Returns:
        The log, to be passed through `reward.data.validation.check`.
    """
    start, end = _midnight(4, 25), _midnight(5, 9)
    users = _packaged("users").select(
        USER,
        prior_events=pl.col("prior_events_0409_0424").cast(pl.Float64),
        prior_gap_days=(pl.lit(start) - pl.col("prior_last_event")) / timedelta(days=1),
    )
    events = _packaged("events").drop("session_id", "position_in_session")
    return EventLog(
        events=_since(start, events).join(users, on=USER, how="left", maintain_order="left"),
        feedback=columns(feedback),
        session_gap_minutes=session_gap_minutes,
        max_rejected_share=max_rejected_share,
        context=columns(context),
        items=_items(_packaged("items")),
        item_features=columns(item_features),
        timezone=_TIMEZONE,
        click=click,
        end=end,
    )


def official(
    folder: str | PathLike[str],
    *,
    log_files: Iterable[str],
    feedback: Iterable[str],
    context: Iterable[str],
    item_features: Iterable[str],
    session_gap_minutes: float,
    max_rejected_share: float,
    click: str | None = None,
) -> EventLog:
    """KuaiRand-Pure, -1K or -27K as its authors publish it: csv files in a folder ``data``.

    Columns and item features are those of `bundled`, without the two prior numbers; ``is_rand``, 1 where a random
    video took the place of the recommended one, can be a context. As in `bundled`, events of the evening before the
    first day are left out. The authors publish no propensities. Their statistics of videos are averages over the
    log's own month, which are not known when a video is shown, and are not read.

    Args:
        folder: the folder of one version, the one that holds ``data``, or ``data`` itself.
        log_files: which logs to join, by their names without the version: ``log_standard_4_08_to_4_21``,
            ``log_standard_4_22_to_5_08`` and ``log_random_4_22_to_5_08``.
        feedback: feedback columns, as in `bundled`.
        context: ``tab`` and ``is_rand``.
        item_features: item features, as in `bundled`.
        session_gap_minutes: idleness after which a new session starts.
        max_rejected_share: share of rows that may be set aside before the log is refused.
        click: the feedback that says that a video was taken up; None: ``is_click``, where it is named.

    Returns:
        The log, to be passed through `reward.data.validation.check`.

    Raises:
        SchemaError: if a log is unknown, or files are missing; it lists them.
    """
    logs = columns(log_files)
    if not logs or set(logs) - set(_PERIODS):
        raise SchemaError(f"log_files={list(logs)}: expected one or more of {', '.join(_PERIODS)}")
    files = _published(Path(folder), (*logs, _ITEMS))
    starts, ends = zip(*(_PERIODS[log] for log in logs), strict=True)
    events = _csv([path for log in logs for path in files[log]]).rename({"video_id": ITEM, "time_ms": TIMESTAMP})
    return EventLog(
        events=_since(min(starts), events.with_columns(pl.col(TIMESTAMP).cast(pl.Datetime("ms", "UTC")))),
        feedback=columns(feedback),
        session_gap_minutes=session_gap_minutes,
        max_rejected_share=max_rejected_share,
        context=columns(context),
        items=_items(_csv(files[_ITEMS]).rename({"video_id": ITEM})),
        item_features=columns(item_features),
        timezone=_TIMEZONE,
        click=click,
        end=max(ends),
    )


def _packaged(table: str) -> pl.LazyFrame:
    return pl.scan_parquet(str(resources.files("reward.data").joinpath("kuairand_pure", f"{table}.parquet")))


def _published(folder: Path, names: tuple[str, ...]) -> dict[str, list[Path]]:
    """The files of the one version that the folder holds, by name."""
    data = folder / "data" if (folder / "data").is_dir() else folder
    expected = {
        version: {name: [data / file for file in _file_names(name, version, parts.get(name, 1))] for name in names}
        for version, parts in _PARTS.items()
    }
    missing = {
        version: [path.name for paths in files.values() for path in paths if not path.is_file()]
        for version, files in expected.items()
    }
    complete = [version for version, absent in missing.items() if not absent]
    if len(complete) != 1:
        raise SchemaError(
            f"{data} holds all the files of {' and of '.join(complete) or 'no version'}; expected those of exactly "
            "one: give the folder of one version, and get what it lacks. Missing for each version:"
            + "".join(f"\n- {version}: {', '.join(absent) or 'none'}" for version, absent in missing.items())
        )
    return expected[complete[0]]


def _file_names(name: str, version: str, parts: int) -> list[str]:
    if parts == 1:
        return [f"{name}_{version}.csv"]
    return [f"{name}_{version}_part{part}.csv" for part in range(1, parts + 1)]


def _csv(paths: list[Path]) -> pl.LazyFrame:
    with reading(", ".join(map(str, paths))):
        frame = pl.scan_csv(
            paths, schema_overrides={"tag": pl.String, "music_type": pl.Float64, "video_duration": pl.Float64}
        )
        frame.collect_schema()
    return frame


def _since(start: datetime, events: pl.LazyFrame) -> pl.LazyFrame:
    """Without the events of the day before; any other moment, even none, is left for the check to judge."""
    eve = pl.col(TIMESTAMP).is_between(start - timedelta(days=1), start, closed="left")
    return events.filter(~eve.fill_null(False))


def _items(videos: pl.LazyFrame) -> pl.LazyFrame:
    return videos.select(
        ITEM,
        pl.col("author_id").cast(pl.String),
        "video_type",
        "upload_type",
        pl.col("music_type").cast(pl.Int64).cast(pl.String),
        pl.col("tag").str.split(",").list.first(),
        pl.col("video_duration").cast(pl.Float64),
    )
