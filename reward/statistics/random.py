"""Random numbers by their place in a stream: the same for a row, whichever chunk of users it is read in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reward.arrays import Doubles


def uniforms(seed: int | Sequence[int], start: int, count: int) -> Doubles:
    """Numbers ``start`` to ``start + count`` of the stream that ``np.random.default_rng(seed).random()`` gives.

    PCG64 makes each of them from one step of its state and can jump ahead.

    Args:
        seed: of the stream.
        start: place of the first, at least 0.
        count: how many.

    Returns:
        (count,) in [0, 1).

    Raises:
        ValueError: ``start`` is below 0.

    Source:
        O'Neill, "PCG: a family of simple fast space-efficient statistically good algorithms for random number
        generation" (2014), section 4.3.1.

    >>> bool((uniforms(5, 2, 3) == np.random.default_rng(5).random(9)[2:5]).all())
    True
    """
    if start < 0:
        raise ValueError(f"start expected a place of at least 0 in the stream, got {start}: count from its beginning")
    return np.random.Generator(np.random.PCG64(seed).advance(start)).random(count)
