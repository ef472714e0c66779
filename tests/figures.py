"""Whether the figures of reports are drawn: to draw them takes more than a third of a small run's time.

They are put together everywhere, and drawn where a test says so: in the tests of reports, and in one run of each kind.
"""

from contextlib import AbstractContextManager
from unittest import mock

from reward.report import drawing

EMPTY = '<svg viewBox="0 0 1 1"></svg>'
_DRAWN = drawing.drawn


def undrawn() -> AbstractContextManager[object]:
    """While this lasts, a figure of a report is an empty drawing."""
    return mock.patch.object(drawing, "drawn", return_value=EMPTY)


def drawn() -> AbstractContextManager[object]:
    """While this lasts, figures are drawn, as they are for users."""
    return mock.patch.object(drawing, "drawn", _DRAWN)
