"""The margin loss of capsules, by hand."""

import pytest
import torch

from models.losses.capsule_margin import capsule_margin


def test_it_is_zero_where_the_true_length_is_long_and_the_others_are_short() -> None:
    assert capsule_margin(torch.tensor([[0.95, 0.0, 0.0]]), torch.tensor([0])) == 0


def test_it_is_the_papers_sum() -> None:
    lengths = torch.tensor([[0.5, 0.3, 0.0], [0.2, 0.8, 0.6]])
    expected = [(0.9 - 0.5) ** 2 + 0.5 * (0.3 - 0.1) ** 2, (0.9 - 0.6) ** 2 + 0.5 * ((0.2 - 0.1) ** 2 + 0.7**2)]
    assert capsule_margin(lengths, torch.tensor([0, 2])).item() == pytest.approx(sum(expected) / 2)
    changed = capsule_margin(lengths[:1], torch.tensor([0]), present=0.8, absent=0.2, down_weight=2.0).item()
    assert changed == pytest.approx((0.8 - 0.5) ** 2 + 2 * (0.3 - 0.2) ** 2)


def test_shares_cost_what_their_classes_cost() -> None:
    lengths = torch.tensor([[0.5, 0.3, 0.0]])
    alone = [capsule_margin(lengths, torch.tensor([k])).item() for k in (0, 1)]
    mixed = capsule_margin(lengths, torch.tensor([[0.7, 0.3, 0.0]])).item()
    assert mixed == pytest.approx(0.7 * alone[0] + 0.3 * alone[1])
