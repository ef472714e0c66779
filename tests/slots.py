"""Slots as a scoring function is asked about them: of logged rows, and with candidates in worker processes."""

import polars as pl
from torch.utils.data import Dataset


def slots_of(events):
    """The slot of each row: the moment at which its slate was put together, and what was known there."""
    first = pl.col("timestamp").min().over("user_id", "request_id")
    slate = pl.when(pl.col("request_id").is_null()).then("timestamp").otherwise(first)
    return events.select("user_id", slate.alias("timestamp"), "session_id", "surface", "volume")


class Lists(Dataset):
    """The rewards of three candidates for each of the first four histories, made where it is asked for."""

    ITEMS = (3, 1, 999)

    def __init__(self, fn, history):
        self.fn, self.history = fn, history

    def __len__(self):
        return 4

    def __getitem__(self, row):
        return self.fn.score_candidates(self.history[[row]], self.ITEMS).mean[0]
