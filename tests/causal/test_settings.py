"""Settings of the second stage that do not fit the log are refused before training, all at once."""

import numpy as np
import polars as pl
import pytest
import yaml
from conftest import CONF

from reward.causal.settings import check_effects
from reward.data.event_log import EventLog, SchemaError


@pytest.fixture(scope="module")
def log():
    events = pl.DataFrame(schema=dict.fromkeys(("click", "listen_ms", "survey", "surface"), pl.Float64))
    items = pl.DataFrame(
        {"item_id": ["a"], "creator": ["c"], "minutes": [1.0], "vector": pl.Series([[1.0]], dtype=pl.List(pl.Float32))}
    )
    return EventLog(
        events.lazy(),
        ("click", "listen_ms", "survey"),
        30,
        0.0,
        context=("surface",),
        items=items.lazy(),
        item_features=("creator", "minutes", "vector"),
    )


@pytest.fixture
def config():
    """The settings as they stand in conf/, as plain containers."""
    files = {
        "causal": "causal/personalized",
        "propensities": "propensities/conditional_logit",
        "balance": "balance/halves",
    }
    groups = {name: yaml.safe_load((CONF / f"{file}.yaml").read_text()) for name, file in files.items()}
    groups["causal"] |= dict.fromkeys(("gate", "rare", "group"), "auto")
    groups["propensities"] |= {"gate": "auto", "seed": 0}
    groups["balance"] |= {"seed": 0}
    return groups


def test_the_settings_of_conf_fit(config, log):
    check_effects(config, log)
    check_effects({}, log)
    config["causal"] |= {"gate": "click", "rare": ["survey"], "group": "creator", "personal": None}
    config["propensities"] |= {"gate": "click", "context": ["surface"]}
    check_effects(config, log)


@pytest.mark.parametrize(
    ("group", "changes", "said"),
    [
        ("causal", {"gate": "clik"}, r"causal.gate='clik' is no feedback column \(did you mean 'click'\?\)"),
        ("causal", {"gate": "surface"}, "causal.gate='surface' is no feedback column"),
        ("causal", {"rare": ["surveys"]}, r"causal.rare='surveys' is no feedback column \(did you mean 'survey'\?\)"),
        ("causal", {"rare": "survey"}, r"causal.rare='survey': expected auto or a list .* such as \[survey\]"),
        ("causal", {"group": "creatr"}, r"causal.group='creatr' is no item feature \(did you mean 'creator'\?\)"),
        ("causal", {"group": "vector"}, "causal.group='vector' is an embedding: expected a category"),
        ("causal", {"folds": 1}, "causal.folds=1: expected a whole number of at least 2"),
        ("causal", {"folds": 2.5}, "causal.folds=2.5: expected a whole number"),
        ("causal", {"folds": True}, "causal.folds=True: expected a whole number"),
        ("causal", {"folds": "five"}, "causal.folds='five': expected a whole number"),
        ("causal", {"most_weight": np.nan}, "causal.most_weight=nan: expected a number above 1"),
        ("causal", {"most_weight": np.inf}, "causal.most_weight=inf: expected a number above 1"),
        ("causal", {"smooth_days": 0}, "causal.smooth_days=0: expected a number above 0"),
        ("causal", {"joint_rounds": -1}, "causal.joint_rounds=-1"),
        ("causal", {"personal": {"spans_days": []}}, r"personal.spans_days=\[\]: expected a list of at least 1"),
        ("causal", {"personal": {"spans_days": [3, 0]}}, "personal.spans_days=0: expected a number above 0"),
        ("causal", {"personal": {"alternatives": 0}}, "personal.alternatives=0: expected a whole number"),
        ("causal", {"personal": {"most_ratio": -1}}, "personal.most_ratio=-1: expected a number above 0"),
        ("causal", {"personal": {"net": {"hidden": [0]}}}, "personal.net.hidden=0"),
        ("causal", {"folds": 2, "personal": {"net": {"passes": 1}}}, "folds=2: a net expects at least 3"),
        ("propensities", {"gate": "clik"}, "propensities.gate='clik' is no feedback column"),
        ("propensities", {"context": ["surfce"]}, r"propensities.context='surfce' .*did you mean 'surface'"),
        ("propensities", {"spans_days": [0.5]}, "propensities.spans_days=0.5: expected a number of at least 1"),
        ("propensities", {"spans_days": 7}, "propensities.spans_days=7: expected a list"),
        ("propensities", {"ridge": 0}, "propensities.ridge=0: expected a number above 0"),
        ("propensities", {"max_candidates": 0}, "propensities.max_candidates=0"),
        ("balance", {"clip": 1}, "balance.clip=1: expected a number above 1"),
        ("balance", {"placebo_days": 20}, "balance.warm_days=14: expected at least balance.placebo_days=20"),
    ],
)
def test_what_does_not_fit_is_named(config, log, group, changes, said):
    config[group] |= changes
    with pytest.raises(SchemaError, match=said):
        check_effects(config, log)


def test_all_that_does_not_fit_is_listed_at_once(config, log):
    config["causal"] |= {"gate": "clik", "group": "creatr", "folds": 1}
    with pytest.raises(SchemaError, match=r"3 problem\(s\):(\n- [^\n]+){3}$"):
        check_effects(config, log)
