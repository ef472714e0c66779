"""python evaluate.py run=DIR: judge the scoring function of a run on its test days.

train.py does so once; this is for other settings (evaluation.intervals.resamples=1000), for a run from elsewhere, and
for one whose judging was cut short: what is missing of it is written. The days are those of the run, whatever the log
has got since, and a log that has changed is named. With past A/B tests (experiments=users.parquet north_star=days)
the report also tells which quick signals foretell it.
Writes DIR/evaluation/metrics.json and DIR/evaluation/report.html, and prints the results table.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from reward.training.command_line import RefusedError, in_one_sentence
from reward.training.judging import evaluate_run
from reward.training.stages import Stages
from reward.training.terminal import own_warnings_only, say


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Judge the run folder ``config.run``."""
    try:
        evaluate_run(config, Stages(say))
    except RefusedError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    own_warnings_only(say)
    with in_one_sentence():
        main()
