"""Days of a horizon as bits of a word."""

import pytest
import torch

from reward.days import trace_bits


def test_the_last_of_63_days_is_a_day_like_others():
    word = torch.tensor([1 << 62])
    assert trace_bits(word, 63)[0].tolist() == [False] * 62 + [True]


@pytest.mark.parametrize(("words", "days"), [(torch.tensor([1]), 64), (torch.tensor([1]), 0)])
def test_a_horizon_that_does_not_fit_a_word_is_refused(words, days):
    with pytest.raises(ValueError, match="a horizon of 1 to 63 days"):
        trace_bits(words, days)


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.bool])
def test_words_of_another_kind_are_refused(dtype):
    with pytest.raises(ValueError, match="expected int64 words"):
        trace_bits(torch.ones(1, dtype=dtype), 40)
