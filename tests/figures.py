"""Reports whose figures are put together and not drawn: to draw them takes more than a third of a small run's time.

The tests of reports draw theirs, and so does one run of each kind; the runs beside it need not.
"""

from contextlib import AbstractContextManager
from unittest import mock

EMPTY = '<svg viewBox="0 0 1 1"></svg>'


def undrawn() -> AbstractContextManager[object]:
    """While this lasts, a figure of a report is an empty drawing."""
    return mock.patch("reward.report.drawing.drawn", return_value=EMPTY)
