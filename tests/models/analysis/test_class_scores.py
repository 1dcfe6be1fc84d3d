"""Scores of classes against scikit-learn, with classes that do not occur or are never predicted."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from models.analysis.class_scores import ClassCounts, class_scores, confusion

CLASSES = 6


def drawn():
    draws = torch.Generator().manual_seed(0)
    true = torch.randint(0, CLASSES - 2, (80,), generator=draws)  # the last two do not occur
    predicted = torch.randint(1, CLASSES - 1, (80,), generator=draws)  # 0 and the last are never predicted
    return true, predicted


def test_every_score_equals_scikit_learns():
    true, predicted = drawn()
    counts = confusion(true, predicted, CLASSES)
    assert counts.tolist() == sk.confusion_matrix(true, predicted, labels=range(CLASSES)).tolist()
    found = ClassCounts.of(counts)
    how = {"labels": range(CLASSES), "zero_division": 0}
    precision, recall, f1, support = sk.precision_recall_fscore_support(true, predicted, **how)
    for mine, theirs in ((found.precision, precision), (found.recall, recall), (found.f1, f1)):
        assert mine.tolist() == pytest.approx(theirs.tolist())
    assert found.iou.tolist() == pytest.approx(sk.jaccard_score(true, predicted, average=None, **how).tolist())
    assert found.support.tolist() == support.tolist()
    assert found.f1_micro.item() == pytest.approx(sk.f1_score(true, predicted, average="micro", **how))
    assert found.occurring.recall.mean().item() == pytest.approx(
        sk.recall_score(true, predicted, labels=range(4), average="macro")
    )
    assert len(found.occurring.support) == 4 and len(found.seen.support) == 5


def test_what_is_0_by_0_is_none_in_a_table():
    true, predicted = drawn()
    scores = class_scores(confusion(true, predicted, CLASSES), tuple("abcdef"))
    assert [one.precision is None for one in scores] == [True, False, False, False, False, True]
    assert [one.recall is None for one in scores] == [False, False, False, False, True, True]
    assert [one.f1 is None for one in scores] == [False] * 5 + [True]
    assert np.isclose(scores[1].f1, sk.f1_score(true, predicted, labels=[1], average="macro"))
    assert [one.support for one in scores] == true.bincount(minlength=CLASSES).tolist()
