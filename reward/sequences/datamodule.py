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
from reward.task import reward_first

Targets = dict[str, dict[str, Tensor]]  # of each task by its name, by their own names


class Example(NamedTuple):
    """A batch of the stream and what came of it.

    Attributes:
        batch: windows and slots.
        slot_targets: targets of the slots' states Q and E, (windows, slots) each, by task and by name.
        event_targets: targets of the events' states F, (windows, length) each, by task and by name.
        day: (windows, length) days of the events, since 1970-01-01.
        weight: (windows, members) how often each ensemble member's resample drew the window's user.
        asked: what the slots are asked about that is not in them, (windows, slots) each, by task.
    """

    batch: Batch
    slot_targets: Targets
    event_targets: Targets
    day: Tensor
    weight: Tensor
    asked: dict[str, Items]


class Labels(NamedTuple):
    """What is known of a stream's events.

    Attributes:
        targets: (events, ...) each, by task and by name.
        day: (events,) days since 1970-01-01.
        asked: what the events' slots are asked about that is not in them, by task.
    """

    targets: Targets
    day: Tensor
    asked: dict[str, Items]


class _Examples(Dataset[Example]):
    """Examples by the indices of their windows."""

    def __init__(self, windows: Windows, labels: Labels, weight: Tensor) -> None:
        self.windows, self.labels, self.weight = windows, labels, weight

    @property
    def targets(self) -> Targets:
        """Those of all rows, by task and by name."""
        return self.labels.targets

    def __getitem__(self, index: Index) -> Example:
        batch = self.windows.batch(index)
        user = self.windows.stream.offsets.searchsorted(self.windows.start[index], side="right") - 1
        slots, events = batch.slots.row, batch.history.row
        asked = {task: items.at(slots) for task, items in self.labels.asked.items()}
        day = _at(self.labels.day, events)
        return Example(batch, self._targets_at(slots), self._targets_at(events), day, self.weight[user], asked)

    def _targets_at(self, row: Tensor) -> Targets:
        return {
            task: {name: _at(values, row) for name, values in named.items()} for task, named in self.targets.items()
        }


def _at(values: Tensor, row: Tensor) -> Tensor:
    """Values at rows (windows, places); 0 where a place is no row."""
    inside = row >= 0
    return values[row.clamp(min=0)] * inside.reshape(*inside.shape, *(1 for _ in values.shape[1:]))


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
        outcomes: what is predicted, by the names of the tasks.
        features: fitted on the training window.
        split: the windows.
        reward: the task that rewards are measured in.
        max_events: longest history a slot reads; even.
        batch_rows: rows in a batch, padding apart.
        members: ensemble members, each with its own resample of the users.
        seed: draws the batches and the resamples.

    Raises:
        ValueError: ``reward`` names no task.
    """

    def __init__(
        self,
        log: EventLog,
        outcomes: Mapping[str, Outcome],
        features: Features,
        split: Split,
        *,
        reward: str,
        max_events: int,
        batch_rows: int,
        members: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.log, self.features, self.split = log, features, split
        self.outcomes, self.reward = reward_first(outcomes, reward), reward
        self.max_events, self.batch_rows, self.members, self.seed = max_events, batch_rows, members, seed

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Build both windows' streams, once; ``stage`` makes no difference."""
        if hasattr(self, "training"):
            return
        split = self.split
        generator = torch.Generator().manual_seed(self.seed)
        training, labels = self._window(split.train_end, None)
        draws = torch.poisson(torch.ones(len(training.stream.users), self.members), generator)
        self.training = _Examples(training, labels, draws if self.members > 1 else torch.ones_like(draws))
        validation, labels = self._window(split.validation_end, split.train_end)
        weight = torch.ones(len(validation.stream.users), self.members)
        self.validation = _Examples(validation, labels, weight)

    def train_on_all_days(self) -> None:
        """Take all days of the log to train on; what validation saw is among them then."""
        self.setup()
        windows, labels = self._window(self.split.end, None)
        draws = torch.poisson(
            torch.ones(len(windows.stream.users), self.members), torch.Generator().manual_seed(self.seed)
        )
        weight = draws if self.members > 1 else torch.ones_like(draws)
        self.training = _Examples(windows, labels, weight)

    def _window(self, end: int, known_before: int | None) -> tuple[Windows, Labels]:
        """The stream as known at ``end``, with what of the targets was revealed by then but not by ``known_before``."""
        log = known_at(self.log, end)
        stream = Stream.build(log.events, self.features)
        targets: Targets = {}
        asked: dict[str, Items] = {}
        for task, outcome in self.outcomes.items():
            columns = [*outcome.targets, *([DAY] if task == self.reward else [])]
            columns += [ASKED] if ABSENT in outcome.states else []
            frame = outcome.label(log, end, since=known_before).select(columns).collect()[stream.events.source]
            if ASKED in columns:
                groups = self.features.groups(cast(AbsentOutcome, outcome).scope, frame.drop_in_place(ASKED))
                asked[task] = Items.of(groups)
            targets[task] = {name: torch.from_numpy(frame[name].to_numpy().copy()) for name in frame.columns}
        day = targets[self.reward].pop(DAY)
        return Windows.cut(stream, self.max_events), Labels(targets, day, asked)

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
