"""A small log with everything a log may have, and the parts that read it."""

import gc
import importlib
import inspect
import pkgutil
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from estimators import PERSONAL
from figures import drawn, undrawn
from pytorch_lightning import Trainer
from torch import nn

from reward import encoders, heads, objectives
from reward.causal.estimate import estimate_effects
from reward.data.event_log import EventLog
from reward.data.split import known_at, split
from reward.data.validation import check
from reward.encoders.gru import GRU
from reward.features.events import Features
from reward.heads.trace import TraceHead
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.protocol import STATES
from reward.sequences.model import RewardModel
from reward.sequences.network import RewardNetwork
from reward.sequences.stream import Stream

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # its files find each other by name

# what a small part is made of, by the names of constructors' arguments
SMALL = {
    "width": 8,
    "hidden": 4,
    "layers": 2,
    "heads": 2,
    "state_size": 3,
    "dropout": 0.3,
    "horizon_days": 5,
    "causes": 2,
    "levels": [1, 2, 5],
    "members": 3,
}
USERS, DAYS, ITEMS = 40, 20, 30
FEEDBACK, CONTEXT = ("click", "listen_ms"), ("surface", "volume")
FIRST = datetime(2024, 3, 20, tzinfo=UTC)


def _members(room, wanted):
    """The public classes or functions that the files of a room define."""
    files = [importlib.import_module(file.name) for file in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")]
    found = [part for file in files for name, part in inspect.getmembers(file, wanted) if not name.startswith("_")]
    return sorted({part for part in found if part.__module__.startswith(room.__name__)}, key=lambda part: part.__name__)


def _has(*names):
    return lambda part: inspect.isclass(part) and issubclass(part, nn.Module) and all(hasattr(part, n) for n in names)


def _is_objective(part):
    """Whether a function's required parameters are a head's tensor and targets: named tensors in, losses out."""
    if not inspect.isfunction(part):
        return False
    needed = [each for each in inspect.signature(part).parameters.values() if each.default is each.empty]
    return len(needed) > 1 and all(each.annotation == "Tensor" for each in needed)


def _is_daily_objective(part):
    """Whether it reads one tensor of a head's, the logits of days, and otherwise targets."""
    names = inspect.signature(part).parameters if _is_objective(part) else ()
    return sum(name.endswith("_logits") or name.startswith(("log_", "response_")) for name in names) == 1


def pytest_generate_tests(metafunc):
    """Run a test that takes one of these arguments for every part of the room."""
    for name, room, wanted in (
        ("encoder_class", encoders, _has("read", "query")),
        ("head_class", heads, _has("value", "outputs")),
        ("objective", objectives, _is_objective),
        ("daily_objective", objectives, _is_daily_objective),
    ):
        if name in metafunc.fixturenames:
            parts = _members(room, wanted)
            metafunc.parametrize(name, parts, ids=[part.__name__ for part in parts])


def pytest_collection_finish():
    """Look for cycles of references seldom: half a million objects of libraries live as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


@pytest.fixture(scope="session")
def small_arguments():
    """A part's arguments, each taken from the small ones by its name."""

    def arguments(part, **changes):
        parameters = inspect.signature(part).parameters.values()
        known = SMALL | changes
        lacking = {each.name for each in parameters if each.default is each.empty} - set(known)
        assert not lacking, f"give {part.__name__} small values for {lacking} in SMALL"
        return {each.name: known[each.name] for each in parameters if each.name in known}

    return arguments


@pytest.fixture(scope="session")
def build(small_arguments):
    """A small instance of a part, in eval mode."""

    def instance(part, **changes):
        torch.manual_seed(0)
        return part(**small_arguments(part, **changes)).eval()

    return instance


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def _events(rng):
    """Visits of slates of one to three items: some slates share one moment, some have no request."""
    rows = []
    loyalty = rng.beta(0.8, 0.8, USERS)
    for user, day in np.argwhere(rng.random((USERS, DAYS)) < loyalty[:, None]):
        moment = FIRST + timedelta(days=int(day), minutes=int(rng.integers(0, 23 * 60)))
        session, visit = f"{user}.{day}", rng.integers(1, 4)
        for slate in range(visit):
            request = f"{session}.{slate}" if rng.random() < 0.9 else None
            surface = (None, "home", "search")[rng.integers(3)]
            volume = float(rng.normal()) if rng.random() < 0.8 else None
            at_once = rng.random() < 0.5
            for position, item in enumerate(rng.choice(ITEMS, size=rng.integers(1, 4), replace=False)):
                click = rng.random() < 0.2 + 0.6 * loyalty[user]
                listened = float(click * rng.integers(1_000, 200_000))
                rows.append((user, item, moment, session, request, position, click, listened, surface, volume))
                moment += timedelta(seconds=0 if at_once else 40)
            moment += timedelta(minutes=int(rng.integers(1, 50)))
    names = ["user_id", "item_id", "timestamp", "session_id", "request_id", "position", *FEEDBACK, *CONTEXT]
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)


def _items(rng):
    return pl.DataFrame(
        {
            "item_id": range(ITEMS),
            "creator": [f"c{item % 7}" for item in range(ITEMS)],
            "genre": [None if item % 10 == 0 else "abc"[item % 3] for item in range(ITEMS)],
            "minutes": [None if item % 6 == 0 else float(rng.gamma(2.0, 10.0)) for item in range(ITEMS)],
            "vector": [rng.normal(size=3).tolist() for _ in range(ITEMS)],
        }
    )


@pytest.fixture(scope="session")
def log():
    """A checked log of 40 users over 20 days, in a time zone whose clocks change on the way."""
    rng = np.random.default_rng(0)
    items = _items(rng)
    raw = EventLog(
        _events(rng).lazy(),
        feedback=FEEDBACK,
        context=CONTEXT,
        items=items.lazy(),
        item_features=("genre", "minutes", "vector"),
        timezone="Europe/Paris",
        end=FIRST + timedelta(days=DAYS),
        session_gap_minutes=30,
        max_rejected_share=0.0,
    )
    return check(raw).log


@pytest.fixture(scope="session")
def outcome():
    return ActivityTrace(horizon_days=7)


@pytest.fixture(scope="session")
def windows_of_time(log):
    """The split: 12 days of training and 3 of validation."""
    return split(log, train_days=12, validation_days=3)


@pytest.fixture(scope="session")
def fit():
    """Features of a log that is taken as the training window."""

    def features(log, **changes):
        settings = {"min_item_events": 5, "min_category_events": 2, "weekday_from_days": 8}
        return Features.fit(log, **(settings | changes))

    return features


@pytest.fixture(scope="session")
def features(log, windows_of_time, fit):
    return fit(known_at(log, windows_of_time.train_end))


@pytest.fixture(scope="session")
def stream(log, features):
    return Stream.build(log.events, features)


@pytest.fixture(scope="session")
def effects(log, outcome):
    """Effects of the log's items, as if all items had been as likely in every slot."""
    events = log.events.select(pl.len()).collect().item()
    return estimate_effects(
        log,
        outcome,
        gate="click",
        rare=[],
        group="genre",
        folds=2,
        most_weight=50.0,
        smooth_days=30.0,
        curve_rounds=1,
        joint_rounds=1,
        personal=PERSONAL,
        seed=0,
        propensity=np.full(events, 1 / ITEMS),
    )


@pytest.fixture(scope="session")
def network_of(features, outcome):
    """A network of 8 units in eval mode, with the encoder that ``encoder()`` makes or a recurrent one."""

    def build(encoder=None, *, members=2, item_dropout=0.0, recall_days=(), seed=0):
        torch.manual_seed(seed)
        encoder = GRU(width=8, layers=1, dropout=0.0) if encoder is None else encoder()
        head = TraceHead(width=8, hidden=4, horizon_days=outcome.horizon_days, members=members)
        sizes = features.sizes()
        network = RewardNetwork(
            encoder,
            {"active_days": head},
            reward="active_days",
            sizes=sizes,
            item_dropout=item_dropout,
            recall_days=recall_days,
        )
        torch.nn.init.normal_(network.embedding.blank)
        if network.recall is not None:
            torch.nn.init.normal_(network.recall.sums[-1].weight)
        return network.eval()

    return build


@pytest.fixture(scope="session")
def learn(tmp_path_factory):
    """Train a small network on data: the calibrated model, and what validation said before and after."""

    def learnt(network, data, tasks):
        model = RewardModel(
            network,
            tasks,
            optimizer=partial(torch.optim.AdamW, lr=0.02),
            warmup_steps=0,
            state_weights=dict.fromkeys(STATES, 1.0),
            seed=0,
        )
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = Trainer(
            max_epochs=8,
            accelerator="cpu",
            num_sanity_val_steps=0,
            inference_mode=False,
            default_root_dir=tmp_path_factory.mktemp("t"),
            **quiet,
        )
        first = trainer.validate(model, data, verbose=False)[0]
        trainer.fit(model.train(), data)
        model.calibrate(data.val_dataloader(), prior_events=10)
        return model, first, trainer.callback_metrics

    return learnt


@pytest.fixture(scope="session", autouse=True)
def _undrawn_figures():
    """Reports have empty drawings, but for those of tests that say so."""
    with undrawn():
        yield


@pytest.fixture
def drawn_figures():
    """Reports of this test are drawn."""
    with drawn():
        yield


@pytest.fixture
def small():
    """A checked-like log by hand: events as (user, moment), with any other columns by name."""

    def build(rows, timezone="UTC", **columns):
        users, moments = zip(*rows, strict=True)
        frame = pl.DataFrame(
            {
                "user_id": pl.Series(users, dtype=pl.Int64),
                "item_id": pl.Series(columns.pop("item_id", range(len(rows))), dtype=pl.Int64),
                "timestamp": pl.Series(
                    [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in moments],
                    dtype=pl.Datetime("us", "UTC"),
                ),
                "click": [1.0] * len(rows),
                **columns,
            }
        )
        return EventLog(
            frame.lazy(), feedback=("click",), timezone=timezone, session_gap_minutes=30, max_rejected_share=0.0
        )

    return build


@pytest.fixture
def benchmark(monkeypatch):
    """Name -> a module of ``benchmarks/``; afterwards all of these are forgotten."""
    folder = Path(__file__).parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if folder in Path(getattr(sys.modules[name], "__file__", None) or "").parents:
            del sys.modules[name]
