"""Thresholds of labels: a case worked by hand, and all thresholds that there are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from models.analysis.thresholds import best_thresholds

SCORES = [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0]


def test_a_case_by_hand() -> None:
    # Above 0.2 are three images, two of them rightly: F1 = 2*2 / (3 + 2) = 0.8. Above 0.35: one, F1 = 2*1 / (1 + 2).
    first = [0.1, 0.3, 0.4, 0.3], [0, 1, 1, 0]
    # All right above anything from 0.4 on and below 0.6; 0.5 is among that.
    second = [0.4, 0.6, 0.9, 0.1], [0, 1, 1, 0]
    third = [0.9, 0.2, 0.3, 0.8], [0, 0, 0, 0]  # in no image
    fourth = [0.2, 0.1, 0.3, 0.4], [1, 1, 1, 1]  # in each: the lowest still has to be above
    scores, there = (torch.tensor(rows).T for rows in zip(first, second, third, fourth, strict=True))
    assert best_thresholds(scores, there.float()) == pytest.approx([0.2, 0.5, 0.5, 0.05])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SCORES), st.booleans()), min_size=1, max_size=12))
def test_no_threshold_is_better(rows: list[tuple[float, bool]]) -> None:
    scores, there = torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])
    (found,) = best_thresholds(scores[:, None], there[:, None].float())
    assert 0 <= found < 1

    def f1(threshold: float) -> float:
        return float(f1_score(there.numpy(), (scores > threshold).numpy(), zero_division=0.0))

    every = [value / 16 for value in range(16)]  # each way to part the scores; 0 is never above
    assert f1(found) == pytest.approx(max(map(f1, every)), abs=1e-12)
    assert f1(0.5) < f1(found) or found == 0.5, "0.5 where it does as well"
