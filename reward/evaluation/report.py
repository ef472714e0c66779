"""An assessment as one self-contained page: sentences, plots and tables, legible on light and dark screens."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import count

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reward.evaluation.assessment import ACTIVITY, BASE_RATE, EVERYTHING, LIGHTGBM, Json
from reward.evaluation.wording import Estimate, amount, interval_name, places, readable

# Plots are drawn in stand-ins, which the page replaces by the colours of the reader's light or dark scheme.
_INK, _MUTED, _RULE, _PAPER = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04"
_MODEL, _SECOND, _THIRD, _FOURTH = "#0a0a05", "#0a0a06", "#0a0a07", "#0a0a08"
_NAMES = dict(zip((_INK, _MUTED, _RULE, _PAPER, _MODEL, _SECOND, _THIRD, _FOURTH), "ink muted rule paper model second third fourth".split(), strict=True))
_LIGHT = "--ink:#1c2530;--muted:#667180;--rule:#e1e5ea;--paper:#fdfdfc;--model:#0b6e83;--second:#c0702a;--third:#7b5ea7;--fourth:#8f9aa7"
_DARK = "--ink:#e4e8ed;--muted:#98a3b1;--rule:#2e3641;--paper:#14181e;--model:#4fbcd2;--second:#e6a05f;--third:#b99ce6;--fourth:#717d8c"
