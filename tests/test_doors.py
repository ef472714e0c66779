"""One more of a kind is one code file and one yaml, wherever they are: a toy of each is trained, saved and loaded."""

import sys
from contextlib import nullcontext
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
import torch
from figures import drawn

import reward
from benchmarks.kill_and_resume import small_log
from tests.training.test_fit import QUICK

ENCODER = '''
import torch
from torch import nn

from reward.encoders import Memory


class LastEvent(nn.Module):
    """The state of a slot is its token and that of the last event before it."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.width = width
        self.mix = nn.Linear(2 * width, width)

    def read(self, tokens, hours):
        return Memory(tokens, hours, (tokens,))

    def query(self, memory, tokens, hours, visible):
        place = (visible - 1).clamp(min=0).unsqueeze(-1).expand_as(tokens)
        last = memory.layers[0].gather(1, place) * (visible > 0).unsqueeze(-1)
        return self.mix(torch.cat([tokens, last], -1))
'''
HEAD = '''
from reward.heads.trace import TraceHead


class SharpHead(TraceHead):
    """A trace head whose logits are twice as far from even odds."""

    def forward(self, state):
        return {name: 2 * logits for name, logits in super().forward(state).items()}
'''
OUTCOME = '''
from dataclasses import dataclass

import polars as pl

from reward.columns import ITEM, TIMESTAMP, USER
from reward.outcomes.activity import ActivityTrace


@dataclass(frozen=True)
class EveryOtherDay(ActivityTrace):
    """Activity on the odd days of the horizon alone."""

    @property
    def unit(self) -> str:
        return f"odd active days in the next {self.horizon_days} days"

    def label(self, log, end_day, *, since=None):
        odd = sum(1 << day for day in range(0, self.horizon_days, 2))
        return super().label(log, end_day, since=since).with_columns(pl.col("trace") & odd)
'''
EFFECTS = '''
import numpy as np
import polars as pl
import torch

from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.excursion.model import ItemEffectState
from reward.causal.excursion.moderators import ModeratorState
from reward.causal.protocol import EffectModel, EstimatedEffects
from reward.rewards import Rewards


class Nobody:
    """Users of whom nothing is known."""

    def state(self, user, time):
        return ModeratorState(torch.zeros(len(user), 1))


class Rarity(EffectModel):
    """The rarer an item is, the more it does."""

    calibration = personal_calibration = CalibrationSlope(1.0, 0.1)

    def __init__(self, ids, effect):
        super().__init__()
        self.ids = ids
        self.register_buffer("effect", torch.as_tensor(effect))

    def history(self, events, users):
        return Nobody()

    def known(self, ids, items_table=None):
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        mean = torch.where(torch.tensor(self.ids[at] == ids), self.effect[at], 0.0)
        return ItemEffectState(mean, torch.zeros_like(mean))

    def score(self, state, items):
        mean = items.mean.expand(len(state.moderators), -1)
        return Rewards(mean, torch.zeros_like(mean))

    def score_rows(self, history, user, time, items):
        return Rewards(items.mean, items.variance)

    def to_json(self):
        return {"ids": self.ids.tolist()}

    @classmethod
    def restored(cls, told, table, tensors, features):
        return cls(np.array(told["ids"]), tensors["effect"])


def by_rarity(log, outcome, *, scale, seed, propensity):
    """Effects in days that fall with how often an item was shown."""
    effect = scale / np.maximum(log.exposures, 1)
    items = pl.DataFrame({"item_id": log.items["item_id"], "exposures": log.exposures, "mean": effect, "std": 0.0})
    model = Rarity(log.items["item_id"].to_numpy(), effect)
    return EstimatedEffects(items, model.calibration, model, {}, None)
'''
SOURCE = '''
import polars as pl

from reward.data.event_log import EventLog


def from_csv(path: str, feedback: list[str], end: str, session_gap_minutes: float, max_rejected_share: float):
    """A log in a comma-separated file."""
    events = pl.scan_csv(path, try_parse_dates=True).with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))
    from datetime import datetime

    return EventLog(events, tuple(feedback), session_gap_minutes, max_rejected_share, end=datetime.fromisoformat(end))
'''
LOSS = '''
def distance(scores, rewards):
    """Squared distance of a list's scores to its rewards, (lists,)."""
    return (scores - rewards).square().mean(-1)
'''
TASK = """
{name}:
  outcome:
    _target_: {outcome}
    horizon_days: ${{horizon_days}}
    scope: user
    active_if: null
    whole_sessions: true
  head:
    _target_: {head}
    width: ${{encoder.width}}
    hidden: 8
    horizon_days: ${{horizon_days}}
    members: ${{members}}
    from_activity: false
  objective:
    _target_: reward.objectives.likelihood.trace_likelihood
    _partial_: true
  weight: 1.0
"""
ACTIVITY, TRACE = "reward.outcomes.activity.ActivityTrace", "reward.heads.trace.TraceHead"
FILES = {
    "encoders.py": ENCODER,
    "heads.py": HEAD,
    "outcomes.py": OUTCOME,
    "effects.py": EFFECTS,
    "sources.py": SOURCE,
    "losses.py": LOSS,
    "__init__.py": "",
    "conf/encoder/last_event.yaml": "_target_: toys.encoders.LastEvent\nwidth: 8\n",
    "conf/task/sharp.yaml": TASK.format(name="sharp", outcome=ACTIVITY, head="toys.heads.SharpHead"),
    "conf/task/odd_days.yaml": TASK.format(name="odd_days", outcome="toys.outcomes.EveryOtherDay", head=TRACE),
    "conf/causal/rarity.yaml": "_target_: toys.effects.by_rarity\n_partial_: true\nscale: 2.0\n",
    "conf/data/csv.yaml": (
        "_target_: toys.sources.from_csv\npath: ???\nfeedback: [click]\nend: '2024-03-21T00:00:00+00:00'\n"
        "session_gap_minutes: 30\nmax_rejected_share: 0.01\n"
    ),
}
SETTINGS = [
    f"{name}={'null' if value is None else str(value).replace(' ', '')}"
    for name, value in QUICK.items()
    if not name.startswith(("task.", "encoder.", "causal."))
]
DRAWN = ("task=[active_days,odd_days,sharp]", "causal=rarity")  # whose reports are others than a usual run's


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A package beside `reward` with a toy of each kind, and the setting that finds its conf/."""
    place = tmp_path_factory.mktemp("elsewhere")
    for name, text in FILES.items():
        file = place / "toys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    sys.path.insert(0, str(place))
    yield f"hydra.searchpath=[file://{place / 'toys/conf'}]"
    sys.path.remove(str(place))
    for name in [it for it in sys.modules if it.partition(".")[0] == "toys"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def log():
    return reward.read_log(small_log(), feedback=["click"], end=datetime(2024, 3, 21, tzinfo=UTC))


@pytest.fixture(scope="module")
def trained(toys, log, tmp_path_factory):
    """A setting -> the run with it and the function that came of it; a run is made once."""
    made = {}

    def run_with(setting):
        if setting not in made:
            folder = tmp_path_factory.mktemp("run") / "run"
            made[setting] = reward.fit(log, settings=[toys, *SETTINGS, setting], folder=folder, silent=True), folder
        return made[setting]

    return run_with


@pytest.mark.parametrize(
    ("setting", "module", "kind"),
    [
        ("encoder=last_event", "toys.encoders", lambda it: it.network.encoder),
        ("task=[sharp]", "toys.heads", lambda it: it.network.head),
        ("task=[odd_days]", "toys.outcomes", lambda it: it.outcome),
        ("task=[active_days,odd_days,sharp]", "toys.heads", lambda it: it.network.heads["sharp"]),
        ("causal=rarity", "toys.effects", lambda it: it.effects),
    ],
)
def test_a_part_from_elsewhere_is_trained_judged_saved_and_loaded(setting, module, kind, trained, log):
    with drawn() if setting in DRAWN else nullcontext():
        function, run = trained(setting)
    assert type(kind(function)).__module__ == module
    trust = ("toys.encoders", "toys.heads", "toys.outcomes", "toys.effects")
    loaded = reward.load(run / "reward", trust=trust)
    events = log.events.collect()
    np.testing.assert_array_equal(
        loaded.scores(events)["reward"].to_numpy(), function.scores(events)["reward"].to_numpy()
    )
    quick = ["evaluation.boosting=null", "evaluation.intervals.resamples=2", "evaluation.logistic.strengths=[100]"]
    assert reward.evaluate(run, settings=quick, silent=True)["metrics"]
    with pytest.raises(reward.ArtifactError, match=r"load it with trust=\('toys\."):
        reward.load(run / "reward")


def test_an_outcome_from_elsewhere_has_causal_rewards(trained):
    function, _ = trained("task=[odd_days]")
    assert function.effects is not None
    assert function.unit == "odd active days in the next 5 days"


def test_a_log_source_from_elsewhere_is_one_function_and_one_yaml(toys, log, tmp_path):
    small_log().with_columns(pl.col("timestamp").dt.replace_time_zone(None)).write_csv(tmp_path / "log.csv")
    settings = [toys, *SETTINGS, "data=csv", f"data.path={tmp_path / 'log.csv'}"]
    function = reward.fit(settings=settings, evaluate=False, silent=True)
    same = reward.fit(log, settings=[toys, *SETTINGS], evaluate=False, silent=True)
    assert function.fingerprint == same.fingerprint


def test_a_ranking_loss_from_elsewhere_trains_a_ranker(toys, log):
    from toys.losses import distance  # type: ignore[import-not-found]

    function = reward.fit(log, settings=[toys, *SETTINGS, "refit=none"], evaluate=False, silent=True)
    events = log.events.collect()
    history = function.encode(events, now=events["timestamp"].max())
    items = events["item_id"].unique(maintain_order=True).to_list()
    rewards = function.score_candidates(history, items).mean.detach()
    scores = torch.nn.Parameter(torch.zeros_like(rewards))
    optimizer = torch.optim.Adam([scores], lr=0.05)
    losses = []
    for _ in range(50):
        loss = distance(scores, rewards).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
