"""Train a two-tower ranker on clicks, and on clicks and a learned reward; compare the two on later days.

python examples/rank_with_reward.py --artifact outputs/DAY/TIME/reward        (the folder that `make train` printed)

The lists are the bundled log's own: the item that was shown, and others of that day's catalogue beside it.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import reward
from reward.data import kuairand
from reward.data.validation import check
from reward.ranking import pairwise_logistic, softmax

NEGATIVES = 20
PAST_CLICKS = 20
TOP = 5
CONTEXT = ["tab", "prior_events", "prior_gap_days"]


class TwoTower(nn.Module):
    """Users are the items they clicked lately, items are themselves: score = user · item + popularity."""

    def __init__(self, items: int, width: int) -> None:
        super().__init__()
        self.clicked = nn.EmbeddingBag(items + 1, width, mode="mean", padding_idx=0)
        self.item = nn.Embedding(items + 1, width)
        self.popularity = nn.Embedding(items + 1, 1)
        for table in (self.clicked, self.item, self.popularity):
            nn.init.normal_(table.weight, std=0.05)

    def forward(self, clicked: Tensor, candidates: Tensor) -> Tensor:
        """Scores (batch, candidates) of item codes (batch, candidates) for past clicks (batch, clicks)."""
        user = self.clicked(clicked).unsqueeze(-1)
        return (self.item(candidates) @ user + self.popularity(candidates)).squeeze(-1)


def lists(
    events: pl.DataFrame, codes: pl.DataFrame, *, start: datetime, end: datetime, limit: int, seed: int
) -> pl.DataFrame:
    """Clicked exposures in [start, end): the user's earlier clicks, the item, and items shown to others then."""
    clicks = events.filter(pl.col("is_click") > 0).join(codes, on="item_id").sort("user_id", "timestamp")
    past = [pl.col("code").shift(back).over("user_id").fill_null(0) for back in range(1, PAST_CLICKS + 1)]
    inside = clicks.with_columns(pl.concat_list(past).alias("clicked")).filter(
        pl.col("timestamp").is_between(start, end, closed="left")
    )
    chosen = inside.sample(min(limit, inside.height), seed=seed, shuffle=True)
    shown = events.filter(pl.col("timestamp").is_between(start, end, closed="left")).join(codes, on="item_id")
    draws = np.random.default_rng(seed).choice(shown["code"].to_numpy(), (chosen.height, NEGATIVES))
    candidates = np.concatenate([chosen["code"].to_numpy()[:, None], draws], axis=1)
    return chosen.with_columns(pl.Series("candidates", candidates))


def learned_rewards(fn: reward.RewardFunction, events: pl.DataFrame, rows: pl.DataFrame, ids: np.ndarray) -> Tensor:
    """Rewards (lists, candidates) in days of showing each candidate in the list's slot."""
    parts = []
    for start in track(range(0, rows.height, 2048), "scoring candidates"):
        part = rows[start : start + 2048]
        history = fn.encode(
            events.filter(pl.col("user_id").is_in(part["user_id"].unique().implode())),
            now=part.select("user_id", "timestamp", *CONTEXT),
        )
        parts.append(fn.score_candidates(history, ids[part["candidates"].to_numpy()]).mean)
    return torch.cat(parts)


def tensors(rows: pl.DataFrame) -> tuple[Tensor, Tensor]:
    """Past clicks and candidates as codes."""
    clicked = torch.tensor(rows["clicked"].to_list())
    return clicked, torch.from_numpy(rows["candidates"].to_numpy().copy())


def train(rows: pl.DataFrame, rewards: Tensor, items: int, weight: float, seed: int) -> TwoTower:
    """A ranker trained on clicks plus ``weight`` times the learned reward."""
    torch.manual_seed(seed)
    ranker = TwoTower(items, 32)
    optimizer = torch.optim.Adam(ranker.parameters(), lr=3e-3)
    clicked, candidates = tensors(rows)
    clicks = torch.zeros_like(rewards)
    clicks[:, 0] = 1.0
    for _ in range(4):
        for batch in torch.randperm(len(clicked)).split(512):
            scores = ranker(clicked[batch], candidates[batch])
            loss = softmax(scores, clicks[batch])
            if weight:
                loss = (1 - weight) * loss + weight * pairwise_logistic(scores, rewards[batch])
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
    return ranker


@torch.no_grad()
def evaluate(ranker: TwoTower, rows: pl.DataFrame, rewards: Tensor) -> tuple[Tensor, Tensor]:
    """For each list: whether the clicked item is among the first `TOP`, and their mean learned reward in days."""
    first = ranker(*tensors(rows)).topk(TOP).indices
    return (first == 0).any(1).double(), rewards.gather(1, first).mean(1).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", required=True, help="folder, hf:// or wandb:// of a scoring function")
    parser.add_argument(
        "--weights", type=float, nargs="+", default=[0.0, 0.5, 1.0], help="of the reward against clicks"
    )
    parser.add_argument("--lists", type=int, default=15000, help="training lists")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fn = reward.load(options.artifact)
    log = check(
        kuairand.bundled(
            feedback=fn.features.feedback,
            context=CONTEXT,
            item_features=fn.features.item_features,
            session_gap_minutes=30,
            max_rejected_share=0.01,
        )
    ).log
    events = log.events.collect()
    ids = np.concatenate([[-1], np.sort(events["item_id"].unique().to_numpy())])
    codes = pl.DataFrame({"item_id": ids[1:], "code": np.arange(1, len(ids))})
    last = datetime(2022, 5, 9, tzinfo=ZoneInfo(log.timezone)).astimezone(UTC)
    later = last - timedelta(days=4)
    train_rows = lists(
        events, codes, start=last - timedelta(days=14), end=later, limit=options.lists, seed=options.seed
    )
    test_rows = lists(events, codes, start=later, end=last, limit=5000, seed=options.seed + 1)
    train_rewards, test_rewards = (learned_rewards(fn, events, rows, ids) for rows in (train_rows, test_rows))

    table = Table(title=f"{train_rows.height:,} lists to learn from, {test_rows.height:,} later ones to judge on")
    for column in ("weight of the reward", f"click in the top {TOP}", f"learned reward of the top {TOP}"):
        table.add_column(column, justify="right")
    for weight in options.weights:
        hits, gained = evaluate(
            train(train_rows, train_rewards, len(ids), weight, options.seed), test_rows, test_rewards
        )
        table.add_row(f"{weight:.2f}", *(interval(values, test_rows) for values in (hits, gained)))
    console = Console()
    console.print(table)
    console.print(
        f"Rewards in {fn.unit}; ± is a 95% interval over users. The last column is the reward model's own opinion: it "
        "shows that the ranker follows the reward, not that users would come back more."
    )


def interval(values: Tensor, rows: pl.DataFrame) -> str:
    """Mean with a 95% interval that treats the lists of one user as one draw."""
    totals = rows.select("user_id").with_columns(value=pl.Series(values.numpy() - values.mean().item()))
    by_user = totals.group_by("user_id").agg(pl.col("value").sum())["value"].to_numpy()
    return f"{values.mean():.4f} ± {1.96 * np.sqrt((by_user**2).sum()) / rows.height:.4f}"


if __name__ == "__main__":
    main()
