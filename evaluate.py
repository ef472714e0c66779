"""python evaluate.py run=DIR: judge a finished run on its test days again.

train.py does so once; this is for other settings (evaluation.intervals.resamples=1000) or a run from elsewhere. With
past A/B tests (experiments=users.parquet north_star=days) the report also tells which quick signals foretell it.
Writes DIR/evaluation/metrics.json and DIR/evaluation/report.html, and prints the results table.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

import reward
from reward.evaluation.judge import judge
from reward.evaluation.proxies import past_experiments
from reward.evaluation.publish import publish
from reward.evaluation.truth import TRUTH
from reward.schema import check
from reward.sequences.split import split

console = Console()


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Judge the run folder ``config.run``."""
    run, folder = Path(config.run), Path(HydraConfig.get().runtime.output_dir)
    saved = run / ".hydra" / "config.yaml"
    if not saved.is_file():
        with suppress(OSError):  # Hydra made the folders that were not there
            folder.rmdir()
            run.rmdir()
        raise SystemExit(f"run={run}: expected a run folder of train.py with .hydra/config.yaml, found none there")
    training = OmegaConf.load(saved)
    settings: dict[str, Any] = OmegaConf.to_container(config.evaluation, resolve=True)  # type: ignore[assignment]
    proxies = None
    try:
        function = reward.load(run / "reward")
        log = check(instantiate(training.data)).log
        window = split(log, **training.split)
        if config.experiments is not None:
            intervals = {name: settings["intervals"][name] for name in ("resamples", "level")}
            told = {"control": config.control, "north_star": config.north_star, "seed": training.seed}
            proxies = past_experiments(config.experiments, **told, **intervals)
        told = {"seed": training.seed, "calibration": training.calibration, "proposed": config.policies}
        with console.status("scoring the test days and fitting the baselines ..."):
            assessment = judge(function, log, window, **told, **settings)
    except (reward.ArtifactError, reward.SchemaError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    if proxies is not None:
        assessment["experiments"] = proxies
    publish(function, assessment, folder, console, truth=run / TRUTH)


if __name__ == "__main__":
    main()
