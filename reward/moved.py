"""Names of before go on working: of modules through one table, of attributes and of keyword arguments."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Container, Sequence
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Back = TypeVar("_Back")

# the module of before, and those that have what was in it
MOVED: dict[str, tuple[str, ...]] = {
    "reward.artifact": ("reward.scoring.artifact",),
    "reward.bounded": ("reward.scoring.bounded",),
    "reward.card": ("reward.scoring.model_card",),
    "reward.causal.user_effects.storage": ("reward.causal.user_effects.state_dict",),
    "reward.consistency": ("reward.sequences.consistency",),
    "reward.effects": ("reward.causal",),
    "reward.effects.account": ("reward.causal.diagnostics.summary", "reward.scoring.effect_sentences"),
    "reward.effects.anchors": ("reward.causal.item_effects.ipw", "reward.causal.item_effects.effect_curve"),
    "reward.effects.answers": ("reward.causal.user_effects.feedback",),
    "reward.effects.balance": ("reward.causal.diagnostics.balance",),
    "reward.effects.choosing": ("reward.causal.choosing",),
    "reward.effects.contrasts": ("reward.causal.user_effects.g_estimation",),
    "reward.effects.exposure": ("reward.rewards",),
    "reward.effects.neural": ("reward.causal.user_effects.effect_net",),
    "reward.effects.past": ("reward.causal.user_effects.decayed_counts",),
    "reward.effects.personal": (
        "reward.causal.user_effects.estimation",
        "reward.causal.user_effects.model",
        "reward.causal.item_effects.newcomers",
    ),
    "reward.effects.pooling": ("reward.causal.item_effects.shrinkage",),
    "reward.effects.propensities": ("reward.causal.propensity.conditional_logit", "reward.causal.propensity.policy"),
    "reward.effects.propensity_check": ("reward.causal.propensity.plausibility",),
    "reward.effects.pushing": ("reward.causal.diagnostics.policy_shift",),
    "reward.effects.residuals": (
        "reward.causal.item_effects.outcome_residuals",
        "reward.causal.item_effects.day_effects",
    ),
    "reward.effects.restored": ("reward.causal.user_effects.restored",),
    "reward.effects.second_stage": ("reward.causal.estimate",),
    "reward.effects.settings": ("reward.causal.settings",),
    "reward.effects.slates": ("reward.data.slates",),
    "reward.effects.standing": ("reward.causal.user_effects.user_state",),
    "reward.effects.storage": ("reward.causal.user_effects.state_dict",),
    "reward.effects.taste": ("reward.causal.user_effects.preferences",),
    "reward.effects.traits": ("reward.causal.item_effects.feedback_rates",),
    "reward.evaluation.assessment": (
        "reward.evaluation.results",
        "reward.evaluation.estimates",
        "reward.evaluation.value_decomposition",
    ),
    "reward.evaluation.canary": ("reward.evaluation.leakage",),
    "reward.evaluation.decisions": ("reward.report.sections",),
    "reward.evaluation.drawing": ("reward.report.drawing",),
    "reward.evaluation.early_days": ("reward.evaluation.early_readout",),
    "reward.evaluation.further": ("reward.evaluation.auxiliary_tasks", "reward.report.sentences"),
    "reward.evaluation.judge": ("reward.evaluation.evaluate",),
    "reward.evaluation.off_policy": ("reward.off_policy.feedback", "reward.off_policy.estimate"),
    "reward.evaluation.off_policy.choice": ("reward.off_policy.selection",),
    "reward.evaluation.off_policy.difference": ("reward.off_policy.paired_difference",),
    "reward.evaluation.off_policy.long_term": ("reward.off_policy.lope",),
    "reward.evaluation.off_policy.regression": ("reward.off_policy.doubly_robust",),
    "reward.evaluation.off_policy.ridge": ("reward.off_policy.reward_model",),
    "reward.evaluation.off_policy.slates": ("reward.off_policy.slate_ips",),
    "reward.evaluation.off_policy.weighting": ("reward.off_policy.ips",),
    "reward.evaluation.policies": ("reward.evaluation.policy_values",),
    "reward.evaluation.proxies": ("reward.evaluation.past_experiments",),
    "reward.evaluation.publish": ("reward.report.write",),
    "reward.evaluation.report": ("reward.report.page", "reward.report.figures", "reward.report.sentences"),
    "reward.evaluation.resampling": (
        "reward.statistics.unit_bootstrap",
        "reward.statistics.bootstrap",
        "reward.statistics.clustered",
    ),
    "reward.evaluation.summary": ("reward.report.summary",),
    "reward.evaluation.surrogates": ("reward.experiments",),
    "reward.evaluation.surrogates.early": ("reward.experiments.early_readout",),
    "reward.evaluation.surrogates.index": (
        "reward.experiments.surrogate_index",
        "reward.experiments.surrogate_effect",
        "reward.statistics.regression",
    ),
    "reward.evaluation.terminal": ("reward.report.terminal",),
    "reward.evaluation.truth": ("reward.evaluation.simulated_truth",),
    "reward.evaluation.wording": ("reward.report.text",),
    "reward.experiments.composite": ("reward.scoring.composite",),
    "reward.experiments.proxies": ("reward.experiments.proxy_validation",),
    "reward.experiments.quantiles": ("reward.statistics.intervals",),
    "reward.experiments.weights": ("reward.experiments.proxy_weights",),
    "reward.function": ("reward.scoring.function",),
    "reward.hub": ("reward.scoring.hub",),
    "reward.logs": ("reward.data",),
    "reward.logs.files": ("reward.data.parquet",),
    "reward.logs.kuairand": ("reward.data.kuairand",),
    "reward.model": ("reward.sequences.model",),
    "reward.network": ("reward.sequences.network",),
    "reward.schema": ("reward.columns", "reward.data.event_log", "reward.data.validation"),
    "reward.sealed": ("reward.scoring.sealed", "reward.scoring.manifest", "reward.scoring.open_folder"),
    "reward.sequences.features": ("reward.features.events",),
    "reward.sequences.restored": ("reward.features.restored",),
    "reward.sequences.slots": ("reward.features.history",),
    "reward.sequences.split": ("reward.data.split",),
    "reward.simulation.policies": ("reward.simulation.slate_policies",),
    "reward.simulation.truth": ("reward.simulation.true_effects",),
    "reward.text": ("reward.report.text", "reward.plain"),
    "reward.tracking": ("reward.training.tracking",),
    "reward.training.effects": ("reward.training.causal",),
    "reward.training.second_stage": ("reward.training.causal",),
    "reward.wiring": ("reward.targets", "reward.training.wiring"),
}


# names of before in modules of today, and what they are called now
RENAMED: dict[str, dict[str, str]] = {
    "reward.causal.diagnostics.summary": {"account": "summarize_effects", "no_summary": "not_estimated"},
    "reward.causal.estimate": {"fit_effects": "estimate_effects"},
    "reward.causal.item_effects.ipw": {"Anchors": "IPWEstimates", "anchors": "ipw_estimates"},
    "reward.causal.user_effects.estimation": {"fit_personal": "fit_user_effects"},
    "reward.evaluation.auxiliary_tasks": {"assess_further": "assess_auxiliary"},
    "reward.evaluation.evaluate": {"judge": "evaluate_function"},
    "reward.evaluation.value_decomposition": {
        "ledger": "value_decomposition",
        "reward_account": "reward_distribution",
    },
    "reward.experiments.early_readout": {"decisions": "launch_decisions"},
    "reward.experiments.proxy_validation": {"judge": "evaluate_proxy"},
    "reward.experiments.surrogate_index": {"Past": "PastExperiments"},
    "reward.off_policy.feedback": {"Logged": "LoggedFeedback"},
    "reward.off_policy.estimate": {"effective_rows": "effective_sample_size"},
    "reward.off_policy.ips": {"inverse_propensity": "ips", "self_normalised": "snips"},
    "reward.off_policy.selection": {"choose": "select_estimator"},
    "reward.off_policy.slate_ips": {
        "slate_inverse_propensity": "slate_ips",
        "independent_inverse_propensity": "independent_ips",
        "reward_interaction_inverse_propensity": "reward_interaction_ips",
    },
    "reward.progressive.past": {"Past": "PastItems"},
    "reward.report.sections": {"pushing": "how_far_to_lean", "pushed_in": "shifts_to_show"},
    "reward.report.sentences": {
        "further_sentences": "auxiliary_sentences",
        "sentences": "summary_sentences",
    },
    "reward.report.write": {"publish": "write_report"},
    "reward.rewards": {"exposure": "exposure_rewards"},
    "reward.scoring.effect_sentences": {"account_sentences": "effect_sentences"},
    "reward.scoring.manifest": {"most_bytes": "max_bytes"},
    "reward.simulation.true_effects": {"effects": "effects_from_pairs"},
    "reward.training.causal": {"second_stage": "estimated_effects"},
}


def today(target: str, among: Container[str] | None = None) -> str:
    """The full name of today of a class or function; of what has not moved, the name that is given.

    Args:
        target: the full name of before.
        among: modules that may be imported to look for it; None: all in which it may be.

    >>> today("reward.effects.second_stage.fit_effects")
    'reward.causal.estimate.estimate_effects'
    """
    module, _, name = target.rpartition(".")
    for place in MOVED.get(module, (module,) if module in RENAMED else ()):
        now = RENAMED.get(place, {}).get(name, name)
        if (among is None or place in among) and now in vars(importlib.import_module(place)):
            return f"{place}.{now}"
    return target


def find_names_of_before(module: str) -> None:
    """Let a module's names of before be read of it, each with a DeprecationWarning.

    Args:
        module: its full name, while it is imported; `RENAMED` has its names.
    """
    names, here = RENAMED[module], sys.modules[module]

    def read(name: str) -> Any:
        now = names.get(name)
        if now is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is {now} now: use that", DeprecationWarning, stacklevel=2)
        return getattr(here, now)

    vars(here)["__getattr__"] = read


class OldName:
    """An attribute by the name that it had, which is read with a DeprecationWarning.

    Args:
        now: what it is called.
        read: gives it of an instance; None: the attribute ``now``.
        of_class: it is read of the class, too.
    """

    def __init__(self, now: str, read: Callable[[Any], Any] | None = None, *, of_class: bool = False) -> None:
        self.now, self.read, self.of_class, self.name = now, read, of_class, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None and not self.of_class:
            return self
        warnings.warn(f"{owner.__name__}.{self.name} is {self.now} now: read that", DeprecationWarning, stacklevel=2)
        return getattr(owner if instance is None else instance, self.now) if self.read is None else self.read(instance)


def keywords_of_before(**names: str) -> Callable[[Callable[_Given, _Back]], Callable[_Given, _Back]]:
    """Let a function take keyword arguments by the names that they had, with a DeprecationWarning for each.

    Args:
        names: of today, by those of before.

    >>> @keywords_of_before(also="tasks")
    ... def score(*, tasks=()):
    ...     return tasks
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", DeprecationWarning)
    ...     score(also=["survey"])
    ['survey']
    """

    def of(function: Callable[_Given, _Back]) -> Callable[_Given, _Back]:
        @wraps(function)
        def call(*args: _Given.args, **options: _Given.kwargs) -> _Back:
            for before in names.keys() & options.keys():
                now = names[before]
                if now in options:
                    raise TypeError(
                        f"{function.__name__} expected {now}= or, by its name of before, {before}=, got both: "
                        f"give {now}= alone"
                    )
                warnings.warn(f"{before}= is called {now}= now: write that", DeprecationWarning, stacklevel=2)
                options[now] = options.pop(before)
            return function(*args, **options)

        return call

    return of


class _Moved(MetaPathFinder, Loader):
    """Finds modules by the names that they had."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """A module that looks its names up in those of today."""
        if fullname not in MOVED:
            return None
        return ModuleSpec(fullname, self, is_package=any(name.startswith(f"{fullname}.") for name in MOVED))

    def exec_module(self, module: ModuleType) -> None:
        """Give it the names of the modules that have them today."""
        places = MOVED[module.__name__]
        warnings.warn(
            f"{module.__name__} is {' and '.join(places)} now: import from there", DeprecationWarning, stacklevel=2
        )
        for place in reversed(places):
            found = vars(importlib.import_module(place))
            vars(module).update({name: value for name, value in found.items() if not name.startswith("__")})
            before = RENAMED.get(place, {}).items()
            vars(module).update({name: found[now] for name, now in before if now in found})


def find_what_moved() -> None:
    """Let old names be imported."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
