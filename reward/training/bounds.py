"""The kind and the bounds of every setting of ``conf/``, by its path; ``*`` stands for one name."""

from __future__ import annotations

from reward.training.kinds import (
    COLUMN,
    COLUMNS,
    FLAG,
    LEVEL,
    MOMENT,
    SEED,
    SHARE,
    ZONE,
    Anything,
    Either,
    Kind,
    ListOf,
    OneOf,
    Parsed,
    Real,
    Text,
    Values,
    Whole,
    optional,
)
from reward.training.world_bounds import SIMULATION

HORIZON = Whole(1, 63)
COUNT = Whole(1, 10**9)
DAYS = Whole(1, 3650)
POSITIVE = Real(0, 1e9, above=True)
AT_LEAST_0 = Real(0, 1e9)
Z = Real(0, 30, above=True)  # standard errors
SPANS = ListOf(Real(0, 36500, above=True))
MEMBERS = Whole(1, 100)
HIDDEN = Whole(1, 4096)
WIDTH = Whole(2, 4096)
PATH = Text("a path or a URL")
DROPOUT = Real(0, 1, below=True)

# what holds settings and must be there, for each command
SECTIONS = {
    "train": (
        "features",
        "batches",
        "network",
        "model",
        "model.state_weights",
        "trainer",
        "activity",
        "correction",
        "calibration",
        "split",
        "task",
        "evaluation",
        "evaluation.intervals",
        "evaluation.logistic",
        "evaluation.boosting",
        "evaluation.policies",
    ),
    "evaluate": (
        "evaluation",
        "evaluation.intervals",
        "evaluation.logistic",
        "evaluation.boosting",
        "evaluation.policies",
        "moved",
    ),
}

# parts: whether there must be one, and whether it is made by a call with more arguments (None: either)
PARTS: dict[str, tuple[bool, bool | None]] = {
    "encoder": (True, False),
    "data": (True, False),
    "causal": (True, True),
    "causal.moderation": (False, True),
    "causal.personal": (False, True),
    "causal.personal.net": (False, True),
    "propensities": (True, True),
    "balance": (True, True),
    "consistency": (False, True),
    "truth": (False, True),
    "logger": (False, None),
    "model.optimizer": (True, True),
    "task.*.outcome": (True, False),
    "task.*.head": (True, False),
    "task.*.objective": (True, True),
}

# what parts that are called after training are given then: how many arguments by place, and which by name
CALLS: dict[str, tuple[int, tuple[str, ...]]] = {
    "causal": (2, ("seed", "propensity")),
    "propensities": (1, ()),
    "balance": (2, ("half",)),
    "truth": (0, ()),
    "consistency": (1, ()),
}

_TASK: dict[str, Kind] = {
    "outcome.horizon_days": HORIZON,
    "outcome.scope": Text("user, item, or a column of the items table"),
    "outcome.active_if": optional(COLUMN),
    "outcome.whole_sessions": FLAG,
    "outcome.reason": optional(COLUMN),
    "outcome.reasons": ListOf(Text()),
    "outcome.quantity": COLUMN,
    "outcome.question": COLUMN,
    "outcome.levels": ListOf(Real(0, 1e9, above=True), least=2, rising=True),
    "outcome.kind": Text("a kind of outcome events, of those that data.outcomes names"),
    "outcome.own_share": SHARE,
    "outcome.seed": SEED,
    "head.width": WIDTH,
    "head.hidden": HIDDEN,
    "head.horizon_days": HORIZON,
    "head.members": MEMBERS,
    "head.causes": Whole(1, 1000),
    "head.from_activity": FLAG,
    "head.once": FLAG,
    "head.levels": ListOf(Real(0, 1e9, above=True), least=2, rising=True),
    "objective.most_weight": Real(1, 1e9),
}

_DATA: dict[str, Kind] = {
    "data.events": PATH,
    "data.items": optional(PATH),
    "data.folder": PATH,
    "data.log_files": Either((ListOf(Text("the name of a file"), least=1), Text("the name of a file"))),
    "data.feedback": Either((ListOf(COLUMN, least=1), COLUMN)),
    "data.click": optional(COLUMN),
    "data.flags": optional(COLUMNS),
    "data.context": COLUMNS,
    "data.item_features": COLUMNS,
    "data.timezone": ZONE,
    "data.timestamp_unit": optional(OneOf(("s", "ms", "us", "ns"))),
    "data.day_starts_at": Parsed("a time of day such as 04:00", lambda text: text),
    "data.end": optional(MOMENT),
    "data.outcomes": optional(Values(PATH)),
    "data.outcomes_end": optional(Values(MOMENT)),
    "data.session_gap_minutes": Real(0, 1e6, above=True),
    "data.max_rejected_share": SHARE,
    "data.seed": SEED,
    "data.world": Anything("the settings of simulation"),
}

_STAGES: dict[str, Kind] = {
    "seed": SEED,
    "resume": optional(PATH),
    "horizon_days": HORIZON,
    "members": MEMBERS,
    "reward": optional(Text("the name of a task")),
    "refit": OneOf(("effects", "all", "none")),
    "split.train_days": optional(DAYS),
    "split.validation_days": optional(DAYS),
    "features.min_item_events": COUNT,
    "features.min_category_events": COUNT,
    "features.weekday_from_days": COUNT,
    "batches.max_events": Whole(2, 65536, even=True),
    "batches.batch_rows": COUNT,
    "encoder.width": WIDTH,
    "encoder.layers": Whole(1, 128),
    "encoder.heads": Whole(1, 256),
    "encoder.state_size": Whole(1, 1024),
    "encoder.dropout": DROPOUT,
    "network.item_dropout": DROPOUT,
    "network.recall_days": SPANS,
    "consistency.lam": SHARE,
    "consistency.momentum": Real(0, 1, below=True),
    "model.warmup_steps": Whole(0, 10**9),
    "model.state_weights.before": AT_LEAST_0,
    "model.state_weights.exposed": AT_LEAST_0,
    "model.state_weights.after": AT_LEAST_0,
    "model.optimizer.lr": Real(0, 10, above=True),
    "model.optimizer.weight_decay": Real(0, 1e3),
    "trainer.max_epochs": Whole(1, 10**6),
    "trainer.patience": Whole(0, 10**6),
    "trainer.gradient_clip_val": optional(AT_LEAST_0),
    "trainer.accelerator": OneOf(("auto", "cpu", "gpu", "cuda", "mps", "tpu")),
    "trainer.devices": Either((Whole(1, 1024), OneOf(("auto", -1)), ListOf(Whole(0, 1023), least=1))),
    "trainer.precision": OneOf(("32-true", "32", 32, "bf16-mixed", "16-mixed")),
    "calibration.prior_events": POSITIVE,
    "correction.shares": ListOf(Real(0, 1, above=True), least=1, rising=True),
    "correction.least_gain": Real(-1e6, 1e6),
    "task.*.weight": POSITIVE,
    "logger.project": Parsed("a name without / \\ # ? % :", lambda text: None if set("/\\#?%:") & set(text) else text),
}

# arguments of the Trainer that conf/ does not set
_TRAINER: dict[str, Kind] = {
    "trainer.gradient_clip_algorithm": optional(OneOf(("norm", "value"))),
    "trainer.accumulate_grad_batches": Whole(1, 10**6),
    "trainer.limit_train_batches": Either((Whole(1, 10**9), Real(0, 1, above=True))),
    "trainer.max_steps": Either((Whole(1, 10**12), OneOf((-1,)))),
    "trainer.deterministic": OneOf((True, False, "warn")),
    "trainer.benchmark": FLAG,
    "trainer.detect_anomaly": FLAG,
    "trainer.enable_progress_bar": FLAG,
    "trainer.strategy": OneOf(("auto", "ddp_spawn", "ddp_spawn_find_unused_parameters_true")),
}

# of the parts that estimate effects on one user rather than another
_OF_USERS: dict[Kind, str] = {
    ListOf(Real(0, 36500, above=True), least=1): "spans_days",
    POSITIVE: "most_ratio memory_days prior_answers reference_days",
    Whole(1, 1000): "alternatives",
    COUNT: "gate_rows clusters pushed_slates",
    Whole(1, 10_000): "reference_items",
    Whole(1, 10**6): "pushed_draws",
}
_CAUSAL: dict[str, Kind] = {
    **{f"{place}.{name}": optional(COLUMN) for place in ("roles", "causal") for name in ("gate", "group")},
    **dict.fromkeys(("roles.rare", "causal.rare"), optional(COLUMNS)),
    "causal.folds": Whole(2, 100),
    "causal.most_weight": Real(1, 1e9),
    **dict.fromkeys(("causal.smooth_days", "causal.prior_users"), AT_LEAST_0),
    **dict.fromkeys(("causal.curve_rounds", "causal.joint_rounds"), Whole(0, 100)),
    "causal.level": LEVEL,
    **{
        f"causal.{part}.{name}": kind
        for part in ("personal", "moderation")
        for kind, names in _OF_USERS.items()
        for name in names.split()
    },
    "causal.personal.net.hidden": ListOf(HIDDEN, repeated=True),
    "causal.personal.net.passes": Whole(1, 10**4),
    "causal.personal.net.batch_rows": COUNT,
    "causal.personal.net.learning_rate": Real(0, 10, above=True),
    "causal.personal.net.weight_decay": Real(0, 1e3),
    "propensities.gate": optional(COLUMN),
    "propensities.spans_days": SPANS,
    "propensities.prior_days": POSITIVE,
    "propensities.memory_clicks": SPANS,
    "propensities.context": COLUMNS,
    "propensities.embedding_size": Whole(1, 4096),
    "propensities.category_levels": Whole(1, 10**6),
    "propensities.ridge": POSITIVE,
    "propensities.passes": Whole(1, 10**4),
    "propensities.tolerance": POSITIVE,
    "propensities.max_training_slates": COUNT,
    "propensities.max_candidates": Whole(2, 10**9),
    "propensities.chunk_slates": COUNT,
    "propensities.calibration_slates": COUNT,
    "propensities.level": Z,
    "propensities.least_excess": SHARE,
    "propensities.seed": SEED,
    "balance.half": optional(Anything("the balance check")),
    "balance.spans_days": ListOf(Real(0, 36500, above=True), least=1),
    "balance.prior_days": POSITIVE,
    "balance.placebo_days": DAYS,
    "balance.last_days": DAYS,
    "balance.warm_days": DAYS,
    "balance.clip": Real(1, 1e9),
    "balance.level": Z,
    "balance.least_spread": AT_LEAST_0,
    "balance.seed": SEED,
}

_LOGISTIC: dict[str, Kind] = {
    "strengths": ListOf(Real(0, 1e12, above=True), least=1),
    "max_categories": Whole(1, 10**6),
}

_EVALUATION: dict[str, Kind] = {
    **{f"{place}.{name}": kind for place in ("activity", "evaluation.logistic") for name, kind in _LOGISTIC.items()},
    "evaluation.intervals.resamples": Whole(1, 10**6),
    "evaluation.intervals.level": LEVEL,
    "evaluation.intervals.bins": Whole(1, 10**4),
    "evaluation.intervals.min_slice_users": COUNT,
    "evaluation.intervals.min_item_rows": COUNT,
    "evaluation.boosting.parameters": Values(
        Either((Real(-1e12, 1e12), Text(), FLAG, ListOf(Real(-1e12, 1e12), repeated=True)))
    ),
    "evaluation.boosting.max_trees": Whole(1, 10**6),
    "evaluation.boosting.patience": Whole(1, 10**6),
    "evaluation.boosting.num_threads": Whole(0, 1024),
    "evaluation.policies.divergence": Real(0, 100, above=True),
    "evaluation.policies.min_effective_sample_size": POSITIVE,
    "evaluation.policies.most": ListOf(POSITIVE, least=1),
    "run": PATH,
    "policies": optional(PATH),
    "experiments": optional(PATH),
    "moved.events": optional(PATH),
    "moved.items": optional(PATH),
    "moved.folder": optional(PATH),
    "moved.outcomes": optional(Values(PATH)),
    "control": Either((Text(), Whole(-(10**18), 10**18), FLAG)),
    "north_star": optional(COLUMN),
    "truth.world": Anything("the settings of simulation"),
    "truth.seed": SEED,
    "truth.horizon_days": HORIZON,
    "truth.first_day": Whole(0, 3650),
    "truth.every_days": DAYS,
    "truth.parents_per_day": COUNT,
    "truth.items_per_parent": COUNT,
}

BOUNDS: dict[str, Kind] = {
    **_STAGES,
    **_DATA,
    **{f"task.*.{name}": kind for name, kind in _TASK.items()},
    **_TRAINER,
    **_CAUSAL,
    **_EVALUATION,
    **SIMULATION,
}

# groups that may be null, and settings that need not be there
OPTIONAL = {
    "evaluation.boosting",
    "causal.personal",
    "causal.personal.net",
    "consistency",
    "truth",
    "logger",
    "resume",
    "model.optimizer.lr",
    "model.optimizer.weight_decay",
    *_TRAINER,
}
