"""Write the reference from docstrings: `python docs/reference/write.py`, or `make reference` for the full pages too.

`README.md` lists the public names with the first sentence of each docstring and a link to its source; it is committed,
and a test holds it to the code. ``--pages`` also writes one page a task into ``pages/``, with signatures, arguments and
examples.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LINK = r"\[([^]]*)\]\(#[^)]*\)"  # an anchor of another page, which Markdown readers do not find

Names = Mapping[str, Sequence[str]]  # by module
PUBLIC: Mapping[str, tuple[str, Names]] = {
    "reward": (
        "Train a scoring function, load it, score with it",
        {
            "reward.training.fit": ["read_log", "fit", "evaluate"],
            "reward.scoring.artifact": ["load", "save", "ArtifactError", "ArtifactWarning"],
            "reward.scoring.function": ["RewardFunction", "History"],
            "reward.rewards": ["Rewards"],
            "reward.data.event_log": ["EventLog", "SchemaError"],
            "reward.data.parquet": ["check"],
            "reward.data.validation": ["SetAsideWarning"],
            "reward.scoring.composite": ["Composite"],
            "reward.scoring.partitioned": ["score_parquet"],
        },
    ),
    "reward.data": (
        "Read a log once, and add up statistics over its users",
        {
            "reward.data.prepared": ["PreparedLog", "UserRows"],
            "reward.statistics.sums": ["Estimator", "State", "fold", "total"],
            "reward.statistics.bootstrap": ["Users", "Resamples", "Ratios", "RatioRows", "percentiles"],
            "reward.statistics.clustered": ["ClusteredError"],
            "reward.statistics.user_hash": ["user_hash"],
        },
    ),
    "reward.ranking": (
        "Train a ranker on rewards",
        {"reward.ranking.losses": ["softmax", "pairwise_logistic", "pointwise_logistic"]},
    ),
    "reward.causal": (
        "Estimate what showing an item does",
        {
            "reward.causal.estimate": ["estimate_effects", "ItemEffects"],
            "reward.causal.propensity.conditional_logit": ["estimate_propensities", "Propensities"],
            "reward.causal.diagnostics.balance": ["balance", "Balance"],
        },
    ),
    "reward.off_policy": (
        "Estimate what another policy would have been worth",
        {
            "reward.off_policy.feedback": ["LoggedFeedback", "logged"],
            "reward.off_policy.estimate": [
                *("Estimate", "Refusal", "TooFewEffectiveRows", "MeanWeightOff", "effective_sample_size", "top_share")
            ],
            "reward.off_policy.ips": ["ips", "snips", "clipped"],
            "reward.off_policy.doubly_robust": [
                *("direct", "doubly_robust", "clipped_doubly_robust", "switch_doubly_robust")
            ],
            "reward.off_policy.paired_difference": [
                *("difference", "difference_from_level", "difference_doubly_robust")
            ],
            "reward.off_policy.slate_ips": [
                "slate_ips",
                "independent_ips",
                "reward_interaction_ips",
            ],
            "reward.off_policy.lope": ["long_term", "marginal_weight", "action_posterior"],
            "reward.off_policy.reward_model": ["action_regression", "folds"],
            "reward.off_policy.selection": ["select_estimator", "Choice"],
        },
    ),
    "reward.experiments": (
        "Learn from past A/B tests, read one early, plan the next",
        {
            "reward.experiments.table": ["Experiments", "from_users", "from_arms"],
            "reward.experiments.proxy_weights": [
                *("ProxyWeights", "all_weights", "naive", "total_covariance", "jive", "liml")
            ],
            "reward.experiments.proxy_validation": ["evaluate_proxy", "pareto_front"],
            "reward.experiments.decision_rules": ["decide", "Metric", "Decision", "discoveries"],
            "reward.experiments.heterogeneity": ["rank_weighted_effect", "RankWeighted"],
            "reward.experiments.shrinkage": ["shrink", "Shrunk"],
            "reward.experiments.surrogate_index": ["SurrogateIndex", "Experiment", "PastExperiments"],
            "reward.experiments.surrogate_effect": ["IndexEffect", "Gap", "violations", "Violations"],
            "reward.experiments.early_readout": [
                *("auto_surrogate", "reward_surrogate", "effects_by_test", "launch_decisions", "agreement")
            ],
            "reward.experiments.comparison": ["compare", "join_cohorts", "sample_ratio", "predicted_before"],
            "reward.experiments.sequential": ["group_sequential", "always_valid", "monitor", "inflation"],
            "reward.experiments.design": ["plan", "Plan", "schedule"],
        },
    ),
    "reward.evaluation": (
        "Measure predictions, with intervals by user",
        {
            "reward.evaluation.measure": ["Measurement", "evaluate", "compare", "evaluate_against"],
            "reward.evaluation.findings": ["Evaluation", "Metrics", "Metric"],
            "reward.evaluation.metric_table": ["MetricEstimator", "JudgedRows", "MetricTable"],
            "reward.evaluation.evaluator": ["Evaluator", "JudgedLog"],
            "reward.evaluation.leakage": ["item_leakage", "Suspect"],
            "reward.report.saved": ["to_json", "from_json"],
        },
    ),
    "reward.simulation": (
        "Simulate a service whose true effects are known",
        {
            "reward.simulation.world": ["World"],
            "reward.simulation.drawn": ["drawn_world"],
            "reward.simulation.lives": ["Service", "open_service", "Policy"],
            "reward.simulation.service": ["simulate"],
            "reward.simulation.log": ["world_log"],
            "reward.simulation.slate_policies": [
                *("logging_policy", "random_policy", "click_optimal", "minutes_optimal", "oracle", "rank_by")
            ],
            "reward.simulation.true_effects": ["item_effects"],
            "reward.simulation.paired_runs": ["paired_runs"],
            "reward.simulation.long_run": ["outcome", "gap_closed"],
            "reward.simulation.demo": ["demo"],
        },
    ),
    "reward.progressive": (
        "Tell what an item is worth from its users' first days",
        {"reward.progressive": ["ItemPrior"]},
    ),
}


def first_sentence(module: str, name: str) -> str:
    """The first line of a name's docstring."""
    said = inspect.getdoc(getattr(import_module(module), name))
    if not said:
        raise ValueError(f"{module}.{name} expected a docstring, got none")
    return said.split("\n", 1)[0]


def source_of(module: str, name: str) -> str:
    """The file that defines a class or function, as a link from here."""
    source = Path(inspect.getfile(inspect.unwrap(getattr(import_module(module), name))))
    return f"../../{source.relative_to(ROOT).as_posix()}"


def import_of(package: str, module: str, name: str) -> str:
    """The module to import a name from: the package where it exports the name, and not a module of that name."""
    own = getattr(import_module(module), name)
    return package if getattr(import_module(package), name, None) is own else module


def index() -> str:
    """The page README.md."""
    lines = [
        "# Reference",
        "",
        "The public names, by task. Each line has the first sentence of the docstring and a link to the source. The",
        "docstring there has the arguments with shapes and units, the result, the errors and the paper. In Python:",
        "`help(reward.fit)`. `make reference` writes all docstrings as pages into `docs/reference/pages/`.",
        "",
        "Written by `docs/reference/write.py`; a test fails where this page and the code differ.",
    ]
    for package, (task, names) in PUBLIC.items():
        lines += ["", f"## {task}: `{package}`", ""]
        before = package
        for module, name in ((module, name) for module, members in names.items() for name in members):
            where = import_of(package, module, name)
            lines += ["", f"From `{where}`:", ""] if where != before else []
            lines.append(f"- [`{name}`]({source_of(module, name)}): {first_sentence(module, name)}")
            before = where
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """A page for each task, by its name: every docstring whole, with its signature."""
    from griffe import GriffeLoader
    from griffe2md import render_object_docs

    loader = GriffeLoader(search_paths=[str(ROOT)], docstring_parser="google")
    tree = loader.load("reward")
    settings = {"heading_level": 2, "merge_init_into_class": True, "show_if_no_docstring": False, "filters": ["!^_"]}
    written = {}
    for package, (task, names) in PUBLIC.items():
        shown = [tree[f"{module}.{name}".removeprefix("reward.")] for module, them in names.items() for name in them]
        text = "\n\n".join(render_object_docs(one, config=settings) for one in shown)
        plain = re.sub(r"<code>(.*?)</code>", lambda found: f"`{re.sub(LINK, lambda it: it[1], found[1])}`", text)
        written[f"{package}.md"] = f"# {task}: `{package}`\n\n{plain}\n"
    return written


def main() -> None:
    """Write the list, and the pages where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", action="store_true", help="also the pages, for which griffe2md is needed")
    options = parser.parse_args()
    (HERE / "README.md").write_text(index(), encoding="utf-8")
    for name, text in (pages() if options.pages else {}).items():
        (HERE / "pages").mkdir(exist_ok=True)
        (HERE / "pages" / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
