import sys
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from reward.data.parquet import read
from reward.data.validation import check

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from first_run import ITEMS, newcomer


def test_the_newcomers_log_is_a_log_with_string_ids_and_nulls_and_the_same_again(tmp_path):
    settings = dict(one.split("=", 1) for one in newcomer(tmp_path, rows=2000))
    log = read(
        settings["data.events"],
        feedback=("skip", "complete", "ms_played"),
        context=("surface",),
        items=settings["data.items"],
        item_features=("genre", "length_s"),
        session_gap_minutes=30,
        max_rejected_share=0.0,
        timezone=settings["data.timezone"],
    )
    checked = check(log)
    events = checked.log.events.collect()
    assert events.height == 2000
    assert events.schema["user_id"] == events.schema["item_id"] == pl.String
    assert events["surface"].null_count() > 0
    assert checked.log.items.collect().height == ITEMS
    again = tmp_path / "again"
    again.mkdir()
    newcomer(again, rows=2000)
    assert_frame_equal(pl.read_parquet(again / "events.parquet"), pl.read_parquet(tmp_path / "events.parquet"))
