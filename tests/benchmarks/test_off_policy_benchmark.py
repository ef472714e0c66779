"""Click rates of the other policy, on a log like the Open Bandit Dataset and, where it is at hand, on the real one."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("REWARD_DATA", ROOT / "data"))
ITEMS, ROWS = 5, 4000


@pytest.fixture
def off_policy(benchmark):
    return benchmark("off_policy")


def made(settled):
    """Both policies in each campaign; in ``women`` the sampler has settled on one item but for two rows."""
    draws, frames = np.random.default_rng(0), []
    rate = np.linspace(0.05, 0.25, ITEMS)
    for campaign in ("all", "men", "women"):
        for policy in ("random", "bts"):
            chance = np.full(ITEMS, 1 / ITEMS) if policy == "random" else np.linspace(1, 3, ITEMS) / (2 * ITEMS)
            if policy == "bts" and campaign == "women" and settled:
                chance = np.append(np.full(ITEMS - 1, 1e-6), 1 - (ITEMS - 1) * 1e-6)
            item = draws.choice(ITEMS, ROWS, p=chance)
            if policy == "bts" and campaign == "women" and settled:
                item[:2] = 0
            frame = {"item_id": item, "position": draws.integers(1, 4, ROWS), "propensity_score": chance[item]}
            click = draws.binomial(1, rate[item]).astype(np.int8)
            frames.append(pl.DataFrame(frame | {"campaign": campaign, "behavior_policy": policy, "click": click}))
    return pl.concat(frames)


def test_rates_are_recovered_both_ways_and_the_settled_campaign_is_refused(off_policy, tmp_path, capsys):
    (tmp_path / "obd_small").mkdir()
    made(settled=True).write_parquet(tmp_path / "obd_small" / "events.parquet")
    off_policy.main(["--data", str(tmp_path), "--out", str(tmp_path / "out.json")])
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    judged = [row for row in rows if row["goal"] is not None]
    assert len(judged) == 12
    assert sum(row["met"] for row in judged) >= 11  # of 95% intervals
    refused = [row for row in judged if row["goal"] == off_policy.REFUSES]
    assert {row["what"] for row in refused} == {"women: random from bts"}
    assert all(row["met"] and row["ours"] is None for row in refused)
    assert "women, from bts: expected at least 100 effective rows, got 2.0 of 4000" in capsys.readouterr().out


def test_a_goal_of_refusing_is_missed_where_nothing_is_refused(off_policy):
    rows, why = off_policy.measured(made(settled=False), "women", "bts")
    assert why is None
    assert [row["met"] for row in rows if row["goal"] == off_policy.REFUSES] == [False, False]


def test_the_other_policys_chances_are_how_often_its_log_has_each_item_at_a_position(off_policy):
    columns = ("item_id", "position", "propensity_score")
    other = pl.DataFrame([(0, 1, 0.3), (0, 1, 0.4), (1, 1, 0.6), (1, 2, 0.5)], schema=columns, orient="row")
    log = pl.DataFrame([(1, 2, 0.5), (0, 2, 0.5), (0, 1, 0.5)], schema=columns, orient="row")
    np.testing.assert_allclose(off_policy.chance_under(other, log), [1, 0, 2 / 3])
    np.testing.assert_allclose(off_policy.chance_under(log, other), 0.5)


def test_a_log_that_is_not_there_is_named(off_policy, tmp_path):
    with pytest.raises(SystemExit, match=r"events\.parquet is missing: it is the small Open Bandit Dataset"):
        off_policy.read(tmp_path)


@pytest.mark.skipif(not (DATA / "obd_small").is_dir(), reason="set REWARD_DATA to the folder that holds obd_small")
def test_the_open_bandit_dataset_is_recovered_and_its_women_are_refused(off_policy):
    events = off_policy.read(DATA)
    rows, why = off_policy.measured(events, "women", "bts")
    assert next(row["ours"] for row in rows if row["metric"] == "effective rows") == pytest.approx(2.1, abs=0.05)
    assert "got 2.1 of 10000" in why
    for campaign, policy in (("all", "bts"), ("men", "bts"), ("all", "random"), ("men", "random"), ("women", "random")):
        rows, why = off_policy.measured(events, campaign, policy)
        assert why is None
        assert all(row["met"] for row in rows if row["goal"] is not None), (campaign, policy)
