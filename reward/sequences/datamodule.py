"""The training and validation windows as batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, cast

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from reward.data.days import DAY
from reward.data.event_log import EventLog
from reward.data.split import Split, known_at
from reward.features.events import Features
from reward.outcomes.protocol import ABSENT, ASKED, AbsentOutcome, Outcome
from reward.sequences.stream import Batch, Index, Items, Stream, Windows


def target(task: str, name: str) -> str:
    """What a target is called among those of all tasks; the outcome that rewards are told in has task ``""``."""
    return f"{task}/{name}" if task else name


class Example(NamedTuple):
    """A batch of the stream and what came of it.

    Attributes:
        batch: windows and slots.
        slot_targets: targets of the slots' states Q and E, (windows, slots) each, by name.
        event_targets: targets of the events' states F, (windows, length) each, by name; and their ``day``.
        weight: (windows, members) how often each ensemble member's resample drew the window's user.
        asked: what the slots are asked about that is not in them, (windows, slots) each, by task.
    """

    batch: Batch
    slot_targets: dict[str, Tensor]
    event_targets: dict[str, Tensor]
    weight: Tensor
    asked: dict[str, Items]


class _Examples(Dataset[Example]):
    """Examples by the indices of their windows."""

    def __init__(self, windows: Windows, targets: dict[str, Tensor], asked: dict[str, Items], weight: Tensor) -> None:
        self.windows, self.targets, self.asked, self.weight = windows, targets, asked, weight

    def __getitem__(self, index: Index) -> Example:
        batch = self.windows.batch(index)
        user = self.windows.stream.offsets.searchsorted(self.windows.start[index], side="right") - 1
        slots, events = batch.slots.row, batch.history.row
        asked = {task: items.at(slots) for task, items in self.asked.items()}
        return Example(batch, self._at(slots), self._at(events), self.weight[user], asked)

    def _at(self, row: Tensor) -> dict[str, Tensor]:
        inside, found = row >= 0, {}
        for name, values in self.targets.items():
            found[name] = values[row.clamp(min=0)] * inside.reshape(*inside.shape, *(1 for _ in values.shape[1:]))
        return found


class _Epochs(Sampler[Index]):
    """Batches of windows, drawn anew each epoch from the seed and the steps done before it.

    Of several processes each takes every so many-th batch of the same draw; the first batches are taken again where
    they do not come out even, for all take as many steps. Without a seed each takes all.
    """

    def __init__(
        self, windows: Windows, batch_rows: int, seed: int | None, step: Callable[[], int], place: tuple[int, int]
    ) -> None:
        self.windows, self.batch_rows, self.seed, self.step = windows, batch_rows, seed, step
        self.rank, self.processes = place if seed is not None else (0, 1)
        self.count = -(-len(windows.batches(batch_rows)) // self.processes)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Index]:
        shuffle = None if self.seed is None else np.random.default_rng([self.seed, self.step()])
        batches = self.windows.batches(self.batch_rows, shuffle)
        yield from (batches[at % len(batches)] for at in range(self.rank, self.count * self.processes, self.processes))


class StreamData(LightningDataModule):
    """A log's training rows with the outcomes known at the end of training, and what validation revealed since.

    Args:
        log: a checked log; nothing after ``split.validation_end`` is read.
        outcome: what is predicted.
        features: fitted on the training window.
        split: the windows.
        max_events: longest history a slot reads; even.
        batch_rows: rows in a batch, padding apart.
        members: ensemble members, each with its own resample of the users.
        seed: draws the batches and the resamples.
        also: further outcomes, by the names of their tasks.
    """

    def __init__(
        self,
        log: EventLog,
        outcome: Outcome,
        features: Features,
        split: Split,
        *,
        max_events: int,
        batch_rows: int,
        members: int,
        seed: int,
        also: Mapping[str, Outcome] | None = None,
    ) -> None:
        super().__init__()
        self.log, self.outcome, self.features, self.split = log, outcome, features, split
        self.also = dict(also or {})
        self.max_events, self.batch_rows, self.members, self.seed = max_events, batch_rows, members, seed

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Build both windows' streams, once; ``stage`` makes no difference."""
        if hasattr(self, "training"):
            return
        split = self.split
        generator = torch.Generator().manual_seed(self.seed)
        training, targets, asked = self._window(split.train_end, None)
        draws = torch.poisson(torch.ones(len(training.stream.users), self.members), generator)
        self.training = _Examples(training, targets, asked, draws if self.members > 1 else torch.ones_like(draws))
        validation, targets, asked = self._window(split.validation_end, split.train_end)
        weight = torch.ones(len(validation.stream.users), self.members)
        self.validation = _Examples(validation, targets, asked, weight)

    def train_on_all_days(self) -> None:
        """Take all days of the log to train on; what validation saw is among them then."""
        self.setup()
        windows, targets, asked = self._window(self.split.end, None)
        draws = torch.poisson(
            torch.ones(len(windows.stream.users), self.members), torch.Generator().manual_seed(self.seed)
        )
        weight = draws if self.members > 1 else torch.ones_like(draws)
        self.training = _Examples(windows, targets, asked, weight)

    def _window(self, end: int, known_before: int | None) -> tuple[Windows, dict[str, Tensor], dict[str, Items]]:
        """The stream as known at ``end``, with what of the targets was revealed by then but not by ``known_before``.

        And what tasks ask about that is not in the slots.
        """
        log = known_at(self.log, end)
        stream = Stream.build(log.events, self.features)
        targets: dict[str, Tensor] = {}
        asked: dict[str, Items] = {}
        for task, outcome in {"": self.outcome, **self.also}.items():
            columns = [*outcome.targets, *([] if task else [DAY]), *([ASKED] if ABSENT in outcome.states else [])]
            frame = outcome.label(log, end, since=known_before).select(columns).collect()[stream.events.source]
            if ASKED in columns:
                groups = self.features.groups(cast(AbsentOutcome, outcome).scope, frame.drop_in_place(ASKED))
                asked[task] = Items.of(groups)
            targets |= {target(task, name): torch.from_numpy(frame[name].to_numpy().copy()) for name in frame.columns}
        return Windows.cut(stream, self.max_events), targets, asked

    def train_dataloader(self) -> DataLoader[Example]:
        return self._loader(self.training, self.seed)

    def val_dataloader(self) -> DataLoader[Example]:
        return self._loader(self.validation, None)

    def _step(self) -> int:
        """Steps done when an epoch's first batch is asked for; a resumed run knows these before it knows its epoch."""
        return 0 if self.trainer is None else self.trainer.global_step

    def _loader(self, examples: _Examples, seed: int | None) -> DataLoader[Example]:
        place = (getattr(self.trainer, "global_rank", 0), getattr(self.trainer, "world_size", 1))
        sampler = _Epochs(examples.windows, self.batch_rows, seed, self._step, place)
        return DataLoader(examples, batch_size=None, sampler=sampler)
