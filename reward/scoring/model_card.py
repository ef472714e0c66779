"""The model card: what an artefact is, what it was trained on, and what it can and cannot claim."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from torch import Tensor

from reward.causal.diagnostics.summary import EffectSummary, no_push, verdict
from reward.scoring.effect_sentences import effect_sentences
from reward.scoring.function import RewardFunction

_VALUES = """\
- **Values** (`value_before`, `value_exposed`, `value_after`) are forecasts: the expected {unit} of a user in that
  state.
"""
_EXPOSURE_TERM = """\
- **`reward`** is the exposure step of the value, V(item shown) − V(slot still open): how much more or less the model
  expects of users who were shown this item than of users in the same state who were shown what the service usually
  shows there. **It is a difference of forecasts, not an effect**: an item that was shown to users who would have come
  back anyway gets credit for that, where the log does not show why. Test it in an experiment before a launch.
- **`reward_std`** is the standard deviation over an ensemble that shares one encoder. Each member is trained on its own
  resample of the users. It covers the noise of the log, and neither confounding nor a change of the service.
"""
_EFFECT = """\
- **`reward`** is the effect, in {unit}, of showing the item in this slot rather than what the service showed on its
  last days. It is estimated from the log's own randomness, by inverse-propensity weighting with shrinkage over items
  and terms for what the user likes and has already seen. **It is causal as far as the propensities are right**; only
  an experiment is proof.
- **`reward_std`** is the standard deviation of that estimate: the noise of the log, and the uncertainty about an item
  and a user's preferences. It covers neither wrong propensities nor a change of the service.
- The network's own exposure step is `value_exposed` − `value_before`: a difference of forecasts, not an effect.
"""
_WINDOW = """\
- It was fitted to one window of one service. Train again when the service, its users or its catalogue changes.
"""


def model_card(function: RewardFunction, facts: Mapping[str, Any]) -> str:
    """Markdown for an artefact's README."""
    features = function.features
    carried = [*facts.get("carry", []), *(facts[it]["sentence"] for it in ("forecast", "refit") if facts.get(it))]
    sentences = "\n".join(f"- {sentence}" for sentence in carried) or "- not evaluated"
    effects = EffectSummary.from_json(facts.get("effects"))
    warning = "" if effects is None or not effects.warning else f"> **Warning.** {effects.warning}\n\n"
    found = ["not estimated"] if effects is None else effect_sentences(effects)
    said = "\n".join(f"- {sentence}" for sentence in found)
    claims = _VALUES + (_EXPOSURE_TERM if function.effects is None else _EFFECT) + _WINDOW
    if function.effects is not None and effects is not None and (why := no_push(effects)) is not None:
        claims = f"- **Do not act on the rewards of this artefact**, whatever `reward_std` says: {why}.\n{claims}"
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.get("table", {}).items())
    return f"""# A reward signal in {function.unit}

{warning}Made by `reward`. It scores what showing an item does to a user's mid-term outcome.

```python
import reward

fn = reward.load("this/folder")
scored = fn.score_events(events)                   # value_before, value_exposed, value_after, reward, reward_std
history = fn.encode(events, now=moment)
rewards = fn.score_candidates(history, items)      # mean and std, (users, candidates), in {function.unit}
```

| | |
|---|---|
{rows}

**Reads**: `user_id`, `item_id`, `timestamp`; feedback {_names(features.feedback)}; context {_names(features.context)};
of the items table {_names(features.item_features)}.

{_auxiliary_tasks(function)}## How well it forecasts

{sentences}

## What showing an item did

**Verdict: {verdict(effects)}.**

{said}

## What it can and cannot claim

{claims.format(unit=function.unit)}"""


def composite_card(
    unit: str, weights: Mapping[str, float], errors: Tensor, functions: Container[str], facts: Mapping[str, Any]
) -> str:
    """Markdown for the README of a composite.

    Args:
        unit: of its reward.
        weights: of its signals, by name.
        errors: (signals,) standard errors of the weights.
        functions: the signals that are scoring functions; the others are columns of the log.
        facts: what the artefact keeps beside it.
    """
    rows = "\n".join(
        f"| `{name}` | {weight:.6g} | {error:.3g} | {'scoring function' if name in functions else 'column'} |"
        for (name, weight), error in zip(weights.items(), errors.tolist(), strict=True)
    )
    source = facts.get("experiments")
    learned = "" if source is None else f"\nWeights by {source['method']} from past experiments.\n"
    return f"""# A composite reward in {unit}

`reward = Σ weight · signal`. Made by `reward`.

| signal | weight | standard error | |
|---|---|---|---|
{rows}
{learned}
- **A weight is what one unit of the signal was worth in past experiments.** It holds for changes like theirs. A ranker
  that is trained on it can move the signal in ways that none of them did. Test it in an experiment before a launch.
- It is for metrics that are sums over a user's events. It is no forecast and has no horizon of its own.
- Signals that are columns score what was shown. Candidates need a scoring function for each signal.
"""


def _auxiliary_tasks(function: RewardFunction) -> str:
    """The auxiliary tasks, where there are any."""
    if not function.units:
        return ""
    tasks = "\n".join(f"- `{name}`: {unit}" for name, unit in function.units.items())
    habits = "".join(
        f"- the habit `{scope}`: {function.units[parts.after]} and more than without, times the chance of it\n"
        for scope, parts in function.habits.items()
    )
    return f"## What else it predicts\n\n{tasks}\n{habits}\n"


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(f"`{column}`" for column in columns) or "none"
