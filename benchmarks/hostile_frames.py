"""python benchmarks/hostile_frames.py: random frames, most of them not as a log should be, through all that reads one.

Each frame is a small log with a few things wrong or odd in it: types, nulls, NaN, infinite and huge numbers, repeated
rows, names, time zones and units, ids, sizes. It goes through `reward.check`; what passes, through `Features.fit` and
an untrained function's `score_events`, `encode` and `score_candidates`. A frame may be refused with a sentence of this
library's own. It may not end in an error of another library, nor may a clean row have a score that is null or not
finite.
"""

from __future__ import annotations

import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl
import torch
from harness import Benchmark, Smoke
from odd.frames import FIRST, Case, case_of

from reward import SchemaError, check
from reward.data.event_log import Checked
from reward.encoders.gru import GRU
from reward.features.events import Features
from reward.heads.trace import TraceHead
from reward.outcomes.activity import ActivityTrace
from reward.scoring.function import RewardFunction
from reward.sequences.network import RewardNetwork
from reward.writing import write_json

SMOKE = Smoke("--frames 20")
FINE = {"scored", "refused", "refused later", "nothing is left"}


def function_of(checked: Checked) -> RewardFunction:
    """An untrained function of a log."""
    features = Features.fit(checked.log, min_item_events=2, min_category_events=2, weekday_from_days=8)
    torch.manual_seed(0)
    network = RewardNetwork(
        GRU(width=8, layers=1, dropout=0.0),
        {"active_days": TraceHead(width=8, hidden=4, horizon_days=5, members=2)},
        reward="active_days",
        sizes=features.sizes(),
        item_dropout=0.0,
    )
    outcome = ActivityTrace(horizon_days=5, whole_sessions=True)
    unit = checked.log.timestamp_unit
    return RewardFunction(
        network.eval(), features, {"active_days": outcome}, max_events=16, timestamp_unit=unit, facts={}
    )


def scored(case: Case, checked: Checked) -> None:
    """Score a log that passed, as it came and with candidates.

    Raises:
        AssertionError: a clean row has no finite score.
    """
    function = function_of(checked)
    function.timestamp_unit = case.options.get("timestamp_unit")
    function.outcome.label(checked.log, 19_800).collect()
    told = function.score_events(case.frame)
    assert told.select(case.frame.columns).equals(case.frame), "the log's own columns did not stay as they came"
    found = told.select(pl.all().exclude(case.frame.columns))
    aside = checked.reasons.is_not_null() & ~checked.reasons.str.starts_with("another row").fill_null(value=False)
    aside &= ~checked.reasons.str.contains("over a year away").fill_null(value=False)
    for name in found.columns:
        value = found[name].filter(~aside)
        assert value.is_finite().fill_null(value=False).all(), f"{name} of a clean row is null or not finite"
        gone = found[name].filter(aside)
        assert gone.null_count() == len(gone), f"{name} of a row that is set aside is not null"
    history = function.encode(case.frame, now=FIRST + timedelta(days=13))
    ids = function.features.items["item_id"].head(5)
    rewards = function.score_candidates(history, ids)
    assert torch.isfinite(rewards.mean).all(), "a candidate's reward is not finite"
    items = case.options.get("items")
    if items is not None and case.options["item_features"]:
        again = function.score_candidates(history, ids, items_table=items)
        assert torch.isfinite(again.mean).all(), "a candidate's reward is not finite with the items given again"


def outcome_of(case: Case) -> str:
    """What becomes of a frame: ``scored``, ``refused``, or what is wrong with how it ended."""
    stage = "check"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checked = check(case.frame, **case.options)
            if not checked.log.events.select(pl.len()).collect().item():
                return "nothing is left"
            stage = "score"
            scored(case, checked)
    except SchemaError as error:
        return "a polars hint" if "hint" in str(error).lower() else ("refused" if stage == "check" else "refused later")
    except AssertionError as error:
        return str(error)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        own = [it for it in where if "/reward/" in it.filename]
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
        return f"{type(error).__name__} at {place}: {str(error).partition(chr(10))[0][:120]}"
    return "scored"


def run(seeds: Iterable[int]) -> tuple[Counter[str], dict[str, list[int]]]:
    """How many frames ended how, and the seeds of each end."""
    counts: Counter[str] = Counter()
    places: dict[str, list[int]] = {}
    torch.set_num_threads(1)
    for seed in seeds:
        told = outcome_of(case_of(seed))
        counts[told] += 1
        places.setdefault(told, []).append(seed)
    return counts, places


def main(arguments: Sequence[str] | None = None) -> None:
    """Print how many frames ended how; write the counts; exit with 1 where one ended wrongly."""
    bench = Benchmark(globals(), SMOKE)
    bench.parser.set_defaults(out=None)
    bench.add("--frames", type=int, default=5000)
    bench.add("--seed", type=int, default=0, help="of the first frame")
    options = bench.parse(arguments)
    began = time.perf_counter()
    counts, places = run(range(options.seed, options.seed + options.frames))
    for told, count in counts.most_common():
        print(f"{count:6} {told}" + ("" if told in FINE else f"  (seeds {places[told][:5]})"))
    print(f"{options.frames} frames in {time.perf_counter() - began:.0f} s")
    if options.out is not None:
        write_json(options.out, {"frames": options.frames, "seed": options.seed, "counts": dict(counts)})
    raise SystemExit(not counts.keys() <= FINE)


if __name__ == "__main__":
    main()
