"""What a run is made of: its settings and folder, and the parts that are built before it trains."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything

from reward.causal.propensity.plausibility import check_propensities
from reward.causal.settings import check_effects
from reward.data.prepared import PreparedLog
from reward.data.split import Split, check_windows, known_at
from reward.features.events import Features
from reward.outcomes.protocol import ABSENT, check_known
from reward.scoring.artifact import ArtifactWarning, load, save
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.sequences.network import RewardNetwork
from reward.task import Task, reward_first
from reward.training.activity import fit_activity
from reward.training.folder import RunFolder, own_modules
from reward.training.identity import same_log
from reward.training.reading import ReadLog, read_log, tell_of
from reward.training.terminal import say
from reward.training.trials import check_role, check_size, try_boosting, try_optimizer, try_trainer
from reward.training.wiring import check_names, check_sums


@dataclass(frozen=True)
class Run:
    """A run that this process works on.

    Attributes:
        config: its settings.
        plain: the same, resolved, as plain values.
        folder: where it is kept.
        given: what the command line set.
        changed: settings that are others than when the run was started.
        kept: whether the folder is there when the run has ended.
    """

    config: DictConfig
    plain: dict[str, Any]
    folder: RunFolder
    given: list[str]
    changed: tuple[str, ...] = ()
    kept: bool = True

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path


@dataclass(frozen=True)
class Ready:
    """All that a run needs once nothing is left to be found wrong.

    Attributes:
        read: the log that the source gives.
        prepared: the log as the run is judged on it.
        outcome: what rewards are measured in; None where the function was saved.
        function: makes the scoring function of what was trained, or reads it where it was saved.
        model: what is trained; None where the function was saved.
        data: what it is trained on; None where the function was saved.
    """

    read: ReadLog
    prepared: PreparedLog
    outcome: Any
    function: Callable[[], RewardFunction]
    model: RewardModel | None
    data: StreamData | None

    @property
    def window(self) -> Split:
        """The split of the log."""
        return self.read.window


def plain_values(config: DictConfig) -> dict[str, Any]:
    """A config as plain values, with what refers to other values resolved."""
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return values


def prepare(run: Run) -> Ready:
    """Read the log and build what is trained: all that can be wrong with a log or a config is found here.

    Raises:
        SchemaError: the log does not do.
        TypeError: the parts do not fit each other.
        ValueError: a part does not take its settings.
    """
    config = run.config
    try_trainer(run.plain["trainer"])
    try_boosting(run.plain["evaluation"]["boosting"])
    record = run.folder.record
    read = read_log(plain_values(config.data), config.split, run.folder, record and record["window"])
    tell_of(read)
    prepared, changed = same_log(read.prepared, read.window, record and record["fingerprints"])
    if changed is not None:
        say(changed)
    if run.folder.has_artifact:
        return Ready(read, prepared, None, partial(saved_function, run.folder), None, None)
    check_effects(run.plain, prepared.log)
    unused = check_propensities(prepared.known_at(read.window.validation_end))
    if unused is not None:
        say(f"The log's propensities are not used, and estimated instead: {unused}.")
    return assembled(config, read, prepared)


def check_savable(untrained: RewardFunction) -> None:
    """Save what has the form of that which is going to be trained, and read it back.

    Raises:
        ValueError: it cannot be saved, such as for more names than its embeddings account for.
    """
    with TemporaryDirectory() as scratch, torch.random.fork_rng():
        save(untrained, Path(scratch) / "reward")


def assembled(config: DictConfig, read: ReadLog, prepared: PreparedLog) -> Ready:
    """Features, data and an untrained model, whose weights the seed draws.

    Raises:
        SchemaError: the log does not do.
        TypeError: the parts do not fit each other.
        ValueError: a part does not take its settings.
    """
    log, window = prepared.log, read.window
    settings = instantiate(config.model)
    try_optimizer(settings["optimizer"])
    check_size("encoder", partial(instantiate, config.encoder))
    for name, told in config.task.items():
        check_size(f"task.{name}.head", partial(instantiate, told.head))
    seed_everything(config.seed, verbose=False)
    reward = reward_task(config)
    tasks = {name: task_of(told, f"task.{name}.", is_reward=name == reward) for name, told in config.task.items()}
    outcomes = {name: task.outcome for name, task in reward_first(tasks, reward).items()}
    check_windows(log, window, horizons(config, tasks))
    check_known(log, window, {f"task.{name}.outcome": tasks[name].outcome for name in tasks})
    features = Features.fit(known_at(log, window.train_end), **config.features)
    if quiet := [name for name in (*log.feedback, *log.context) if name in features.constant]:
        say(f"not learned from, for they never vary in training: {', '.join(quiet)}")
    drawn = {"members": tasks[reward].head.members, "seed": config.seed}
    data = StreamData(log, outcomes, features, window, reward=reward, **drawn, **config.batches)
    data.setup()
    encoder = instantiate(config.encoder)
    check_role("encoder", "encoder", encoder)
    network = RewardNetwork(
        encoder,
        {name: task.head for name, task in tasks.items()},
        reward=reward,
        sizes=features.sizes(),
        absent=any(ABSENT in it.states for it in outcomes.values()),
        **config.network,
    )
    if network.activity is not None:
        fit_activity(network.activity, data, **config.activity)
    consistency = instantiate(config.consistency)
    model = RewardModel(network, tasks, seed=config.seed, consistency=consistency, **settings)
    function = partial(
        RewardFunction,
        features=features,
        tasks=outcomes,
        max_events=config.batches.max_events,
        timestamp_unit=read.origin.timestamp_unit,
        facts={},
    )
    check_savable(function(deepcopy(network)))
    return Ready(read, prepared, outcomes[reward], partial(function, network), model, data)


def task_of(config: DictConfig, place: str, *, is_reward: bool) -> Task:
    """A task whose parts fit each other; past activity starts the forecast of the reward's task alone."""
    told = {} if is_reward or "from_activity" not in config.head else {"from_activity": False}
    head = instantiate(config.head, _convert_="all", **told)
    outcome, objective = (instantiate(config[name], _convert_="all") for name in ("outcome", "objective"))
    check_role(f"{place}head", "head", head)
    check_role(f"{place}outcome", "outcome", outcome)
    check_names(head, outcome, objective)
    check_sums(head, outcome, place)
    return Task(outcome, head, objective, config.weight)


def reward_task(config: DictConfig) -> str:
    """The name of the task that rewards are measured in."""
    return str(next(iter(config.task)) if config.reward is None else config.reward)


def horizons(config: DictConfig, tasks: Mapping[str, Task]) -> dict[str, int]:
    """The days of each task's horizon, by the setting that says so."""
    days = {name: told.outcome.horizon_days for name, told in tasks.items()}
    shared = config.horizon_days
    return {"horizon_days" if it == shared else f"task.{name}.outcome.horizon_days": it for name, it in days.items()}


def saved_function(folder: RunFolder) -> RewardFunction:
    """The scoring function that the run has saved; what it warns of has been said when it was made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ArtifactWarning)
        return load(folder.judged, trust=own_modules(folder))
