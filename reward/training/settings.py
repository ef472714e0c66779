"""Which values settings may have: checked on the resolved config, before anything is read or built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.wiring import misfits


class SettingsError(ValueError):
    """Settings that will not do; the message lists every one."""


def check_settings(config: Mapping[str, Any]) -> None:
    """Check every setting that does not depend on the log.

    Raises:
        SettingsError: lists all that is wrong.
    """
    problems = misfits(config)
    if problems:
        raise SettingsError("the settings will not do:\n" + "\n".join(f"  - {line}" for line in problems))
