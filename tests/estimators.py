"""Settings of the estimators of effects as they stand in conf/."""

from functools import partial
from pathlib import Path

import yaml

from reward.causal.excursion.moderation import fit_moderation
from reward.causal.user_effects.estimation import fit_user_effects

CONF = Path(__file__).parents[1] / "conf" / "causal"


def settings_of(*path):
    """Arguments of a part of ``conf/causal``, by the names of the file and of what is in it."""
    node = yaml.safe_load((CONF / f"{path[0]}.yaml").read_text())
    for name in path[1:]:
        node = node[name]
    return {name: value for name, value in node.items() if not name.startswith("_")}


PERSONAL = partial(fit_user_effects, **settings_of("personalized", "personal"))
MODERATION = partial(
    fit_moderation,
    **settings_of("excursion", "moderation") | {"clusters": 400, "pushed_slates": 2000, "pushed_draws": 7},  # in little
)
