"""Random numbers by their place in a stream."""

import numpy as np
import pytest

from reward.statistics.random import uniforms


@pytest.mark.parametrize("seed", [0, 5, (3, 11)])
def test_a_place_in_the_stream_holds_what_a_generator_draws_there(seed):
    whole = np.random.default_rng(seed).random(1000)
    for start, stop in ((0, 1000), (0, 1), (1, 2), (417, 700), (999, 1000), (1000, 1000)):
        np.testing.assert_array_equal(uniforms(seed, start, stop - start), whole[start:stop])


def test_places_far_ahead_are_as_a_generator_comes_to_them_by_draws_of_any_shape():
    rng = np.random.default_rng(2)
    rng.random((50_000, 7))
    np.testing.assert_array_equal(uniforms(2, 350_000, 12).reshape(3, 4), rng.random((3, 4)))


def test_a_place_before_the_first_is_refused():
    with pytest.raises(ValueError, match="start expected a place of at least 0 in the stream, got -1: count from"):
        uniforms(0, -1, 3)
