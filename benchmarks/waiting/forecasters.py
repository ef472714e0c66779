"""Forecasters of the wait for the next purchase: each is given what was known at the cut, and nothing else.

``(known, cut, horizon, **setting) -> survival``: for each customer who has bought before the cut, in order, the chance
that the next purchase is more than 1, … H weeks away. What a model learns from is what had become of earlier weeks'
customers by the cut: a wait still open then is censored.
"""

from __future__ import annotations

import warnings
from datetime import UTC, datetime

import numpy as np
import polars as pl
import torch
from torch import Tensor

from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.encoders.gru import GRU
from reward.features.events import Features
from reward.heads.hazard import HazardHead
from reward.objectives.consistency import hazard_targets, soft_hazard_likelihood
from reward.objectives.hazard import hazard_likelihood, log_survival
from reward.sequences.consistency import TemporalConsistency
from reward.sequences.network import RewardNetwork
from reward.sequences.stream import Batch, Stream, Windows
from waiting.buy_till_you_die import History, Model, fitted
from waiting.customers import NAMES, WEEK, Purchases, known, landmarks, waits

Floats = np.ndarray
AGE, RECENCY, FREQUENCY = (NAMES.index(name) for name in ("age", "recency", "frequency"))
SEED = 0
MAX_EVENTS, BATCH_ROWS = 8, 8192
_DAY = 24 * 60 * 60 * 1_000_000
_ORIGIN = 10_957 * _DAY  # of the stream's days: 2000-01-01


def kaplan_meier(purchases: Purchases, cut: int, horizon: int) -> Floats:
    """The same curve for all: of those known a horizon before the cut.

    Source: Kaplan & Meier 1958.
    """
    customer, week = landmarks(purchases, np.array([cut - horizon]))
    time, event = waits(purchases, customer, week, end=cut, horizon=horizon)
    at_risk = (time[:, None] >= np.arange(1, horizon + 1)).sum(0)
    came = np.bincount(time[event], minlength=horizon + 1)[1:]
    return np.tile(np.cumprod(1 - came / at_risk), (len(landmarks(purchases, np.array([cut]))[0]), 1))


def buys_till_dead(purchases: Purchases, cut: int, horizon: int, *, model: Model) -> Floats:
    """A model of `buy_till_you_die`, of all histories up to the cut."""
    of = known(purchases, *_at(purchases, cut))
    history = History(of[:, FREQUENCY], of[:, AGE] - of[:, RECENCY], of[:, AGE])
    return model.survival(fitted(model, history), history, np.arange(1.0, horizon + 1))


def cox(
    purchases: Purchases, cut: int, horizon: int, *, columns: tuple[str, ...], penalizer: float, every: int
) -> Floats:
    """Proportional hazards of logarithms, their squares and recency × frequency, from landmarks every so many weeks.

    Source: Cox 1972; stacked landmarks, van Houwelingen 2007.

    Raises:
        SystemExit: lifelines is not installed.
    """
    try:
        import pandas as pd
        from lifelines import CoxPHFitter
    except ImportError as error:
        raise SystemExit(
            "Cox needs lifelines: pip install 'reward[benchmarks]', or leave it out of --models"
        ) from error
    customer, week = landmarks(purchases, np.arange(cut - every, 0, -every))
    time, event = waits(purchases, customer, week, end=cut, horizon=horizon)
    then = np.log1p(_of(columns, purchases, customer, WEEK * week))
    mean, spread = then.mean(0), then.std(0)

    def design(logarithms: Floats) -> pd.DataFrame:
        z = np.clip((logarithms - mean) / spread, -5, 5)
        crossed = z[:, [columns.index("recency")]] * z[:, [columns.index("frequency")]]
        return pd.DataFrame(np.column_stack([z, z**2, crossed]))

    rows = design(then).assign(time=time, event=event)
    model = CoxPHFitter(penalizer=penalizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rows, "time", "event")
        now = design(np.log1p(_of(columns, purchases, *_at(purchases, cut))))
        return model.predict_survival_function(now, times=np.arange(1, horizon + 1)).to_numpy().T


def boosted_trees(
    purchases: Purchases,
    cut: int,
    horizon: int,
    *,
    columns: tuple[str, ...],
    leaves: int,
    trees: int,
    least: int,
    threads: int = 1,
) -> Floats:
    """LightGBM on the person-period table: a row a customer and week, and whether they bought in it.

    The weeks to come are forecast one after the other, each as though those before it had passed in silence.

    Source: Singer & Willett 1993 (the table); Ke et al. 2017.
    """
    import lightgbm

    customer, week = landmarks(purchases, np.arange(1, cut))
    _, event = waits(purchases, customer, week, end=cut, horizon=1)
    setting = {
        "objective": "binary",
        "learning_rate": 0.05,
        "num_leaves": leaves,
        "min_data_in_leaf": least,
        "feature_fraction": 0.7,
        "seed": SEED,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
    }
    table = lightgbm.Dataset(_of(columns, purchases, customer, WEEK * week), event, params=setting)
    booster = lightgbm.train(setting, table, trees)
    customer, day = _at(purchases, cut)
    silent = [_of(columns, purchases, customer, day + WEEK * ahead) for ahead in range(horizon)]
    return np.cumprod(np.column_stack([1 - booster.predict(each, num_threads=threads) for each in silent]), axis=1)


def stream_network(
    purchases: Purchases,
    cut: int,
    horizon: int,
    *,
    context: tuple[str, ...],
    width: int,
    epochs: int,
    rate: float,
    decay: float,
    dropout: float,
    lam: float,
    every: int,
    reach: int,
    seed: int,
) -> Floats:
    """The library's stream and hazard head, asked at silent moments: a query every few weeks reads what was bought.

    A week is the model's day. A purchase is an event whose feedback is what was bought; a query is a slot at the last
    moment before its week, as many weeks after the last purchase as there were. Where λ < 1 a query learns from the
    customer's next one, too, by `hazard_targets`; a purchase between them ends the wait, and with it what is shared.

    ``context`` are those of `NAMES` that the slot is told beside what the stream finds itself, ``every`` the weeks
    between queries and ``reach`` the weeks that the head forecasts: what lies beyond is asked of queries that are made
    later, as though nothing had been bought until then.
    """
    ahead = np.arange(cut, cut + horizon, reach)
    customer, week = landmarks(purchases, np.concatenate([np.arange(cut - every, 0, -every), ahead]))
    stream, features = _stream(purchases, customer, week, cut, context)
    windows = Windows.cut(stream, MAX_EVENTS)
    source = stream.slots.source
    time, event = (
        torch.from_numpy(each[source].astype(np.int64))
        for each in waits(purchases, customer, np.minimum(week, cut), end=cut, horizon=reach)
    )
    ages = np.argsort(source)[week >= cut].reshape(-1, len(ahead))  # slots by customer and what will have passed
    torch.manual_seed(seed)
    network = RewardNetwork(
        GRU(width=width, layers=1, dropout=dropout),
        {"return_time": HazardHead(width=width, hidden=32, horizon_days=reach, causes=1, members=1)},
        reward="return_time",
        sizes=features.sizes(),
        item_dropout=0.0,
    )
    _train(network, windows, time, event, epochs=epochs, rate=rate, decay=decay, lam=lam, every=every, seed=seed)
    silent = _forecast(network, windows, len(source))[ages]
    silent[:, 1:] *= silent[:, :-1, -1:].cumprod(1)
    return silent.reshape(len(ages), -1)[:, :horizon]


def _stream(
    purchases: Purchases, customer: np.ndarray, week: np.ndarray, cut: int, context: tuple[str, ...]
) -> tuple[Stream, Features]:
    """The purchases as events and the landmarks as slots, with a week of life in a day of the stream."""

    def frame(who: np.ndarray, moment: np.ndarray, columns: Floats) -> pl.DataFrame:
        told = {name: pl.Series(columns[:, NAMES.index(name)]).fill_nan(None) for name in context}
        return pl.DataFrame({"user_id": who, "timestamp": pl.Series(moment).cast(pl.Datetime("us", "UTC")), **told})

    before = np.full((len(purchases.day), len(NAMES)), np.nan)
    again = purchases.day > purchases.day[purchases.first[purchases.customer]]
    before[again] = known(purchases, purchases.customer[again], purchases.day[again])
    events = frame(purchases.customer, _ORIGIN + purchases.day * _DAY // WEEK, before).with_columns(
        pl.lit(0).alias("item_id"), pl.Series("units", purchases.units), pl.Series("dollars", purchases.dollars)
    )
    log = EventLog(
        events.lazy(),
        feedback=("units", "dollars"),
        context=context,
        session_gap_minutes=30,
        max_rejected_share=0.0,
        end=datetime.fromtimestamp((_ORIGIN + cut * _DAY) / 1e6, UTC),
    )
    log = check(log).log
    features = Features.fit(log, min_item_events=1, min_category_events=1, weekday_from_days=1 << 20)
    asked = frame(customer, _ORIGIN + week * _DAY - 1, known(purchases, customer, WEEK * week))
    return Stream.build(log.events, features, at=asked), features


def _train(
    network: RewardNetwork,
    windows: Windows,
    time: Tensor,
    event: Tensor,
    *,
    epochs: int,
    rate: float,
    decay: float,
    lam: float,
    every: int,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    steps = epochs * len(windows.batches(BATCH_ROWS))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    slow = TemporalConsistency(network, lam=lam, momentum=0.95)
    network.train()
    done = 0
    for _ in range(epochs):
        for index in windows.batches(BATCH_ROWS, random):
            batch = windows.batch(index)
            row = batch.slots.row
            labels = [torch.where(row >= 0, each[row], 0) for each in (time, event)]
            logits = _logits(network, batch)
            if lam < 1:
                gap = torch.full_like(row, logits.shape[-1])
                gap[:, :-1] = torch.where(row[:, 1:] >= 0, every, gap[:, :-1])
                with torch.no_grad():
                    soft = hazard_targets(*labels, _logits(slow.slow.eval(), batch), gap, lam=lam)
                losses = soft_hazard_likelihood(logits, *soft)
            else:
                losses = hazard_likelihood(logits, *labels)
            loss = losses.sum() / (labels[0] > 0).sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            slow.follow(network, done)


@torch.no_grad()
def _forecast(network: RewardNetwork, windows: Windows, rows: int) -> Floats:
    network.eval()
    survival = torch.ones(rows, network.head.horizon_days)
    for index in windows.batches(BATCH_ROWS):
        batch = windows.batch(index)
        row = batch.slots.row
        survival[row[row >= 0]] = log_survival(_logits(network, batch)).exp().mean(-2)[row >= 0]
    return survival.double().numpy()


def _logits(network: RewardNetwork, batch: Batch) -> Tensor:
    """Hazard logits of the batch's slots, (windows, slots, 1, H)."""
    state = network.query(network.read(batch.history), batch.slots, batch.visible)
    return network.head(state)["hazard_logits"]


def _at(purchases: Purchases, cut: int) -> tuple[np.ndarray, np.ndarray]:
    customer, week = landmarks(purchases, np.array([cut]))
    return customer, WEEK * week


def _of(columns: tuple[str, ...], purchases: Purchases, customer: np.ndarray, day: np.ndarray) -> Floats:
    """Some of the columns that `known` tells."""
    return known(purchases, customer, day)[:, [NAMES.index(name) for name in columns]].astype(np.float32)
