"""Metrics equal scikit-learn's or their closed form; what cannot be used is a user's mistake before the run."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, cohen_kappa_score, roc_auc_score

from models.metrics import build_metrics, gathered_value, metric_class, metric_files, update_metrics
from settings.errors import UserError

PROBS = torch.randn(40, 4, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
LABELS = torch.randint(4, (40,), generator=torch.Generator().manual_seed(2))


def value(name, kind, probs, targets, *, ignore_index=-1, **arguments):
    classes = probs.shape[1] if probs.ndim > 1 else 2
    metrics = build_metrics({name: arguments}, kind, num_classes=classes, ignore_index=ignore_index)
    for start in range(0, len(probs), 15):
        part = slice(start, start + 15)
        update_metrics(metrics.values(), probs[part], targets[part], ignore_index=ignore_index)
    return gathered_value(metrics[name], 1)


def test_library_metrics_are_scikit_learns_and_padding_counts_nowhere():
    labels = LABELS.clone()
    labels[[3, 17, 39]] = -1
    kept = labels >= 0
    true, probs = labels[kept].numpy(), PROBS[kept].double().numpy()
    kappa = cohen_kappa_score(true, probs.argmax(axis=1))
    assert value("cohen_kappa", "Multiclass", PROBS, labels) == pytest.approx(kappa, rel=1e-5)
    probs = probs / probs.sum(axis=1, keepdims=True)
    auroc = roc_auc_score(true, probs, multi_class="ovr")
    assert value("AUROC", "Multiclass", PROBS, labels) == pytest.approx(auroc, rel=1e-5)
    accuracy = (probs.argmax(axis=1) == true).mean()
    assert value("accuracy", "Multiclass", PROBS, labels, average="micro") == pytest.approx(accuracy, rel=1e-5)
    macro = np.mean([(probs.argmax(axis=1) == true)[true == k].mean() for k in range(4)])
    assert value("accuracy", "Multiclass", PROBS, labels) == pytest.approx(macro, rel=1e-5)


def test_brier_is_scikit_learns_of_each_class_and_of_masks_by_hand():
    expected = sum(brier_score_loss((k == LABELS).numpy(), PROBS[:, k].double().numpy()) for k in range(4))
    assert value("brier", "Multiclass", PROBS, LABELS) == pytest.approx(expected, rel=1e-6)
    there = torch.nn.functional.one_hot(LABELS, 4)
    assert value("brier", "Multilabel", PROBS, there.float()) == pytest.approx(expected, rel=1e-6)
    masks, probs = LABELS.reshape(2, 4, 5).clone(), PROBS.reshape(2, 4, 5, 4).movedim(-1, 1)
    masks[0, 0] = 255
    kept = (masks != 255).flatten()
    expected = (PROBS[kept].double() - there[kept]).square().sum(dim=1).mean().item()
    assert value("brier", "Multiclass", probs, masks, ignore_index=255) == pytest.approx(expected, rel=1e-6)


def test_library_metrics_of_masks_leave_out_ignored_pixels():
    masks, probs = LABELS.reshape(2, 4, 5).clone(), PROBS.reshape(2, 4, 5, 4).movedim(-1, 1)
    masks[0, 0] = 255
    kept = masks.flatten() != 255
    kappa = cohen_kappa_score(LABELS[kept].numpy(), PROBS[kept].argmax(dim=1).numpy())
    assert value("cohen_kappa", "Multiclass", probs, masks, ignore_index=255) == pytest.approx(kappa, rel=1e-5)


def test_multilabel_targets_are_numbers_and_padded_rows_count_nowhere():
    there = (torch.rand(40, 4, generator=torch.Generator().manual_seed(3)) < PROBS).float()
    padded = torch.cat([there, torch.full((2, 4), -1.0)])
    probs = torch.cat([PROBS, torch.rand(2, 4)])
    expected = roc_auc_score(there.numpy(), PROBS.numpy(), average="macro")
    assert value("auroc", "Multilabel", probs, padded) == pytest.approx(expected, rel=1e-5)


def test_binary_metrics_take_one_probability_an_image():
    true = (LABELS > 1).long()
    expected = roc_auc_score(true.numpy(), PROBS[:, 0].numpy())
    assert value("auroc", "Binary", PROBS[:, 0], true) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["cohen_kapa"], "unknown metric 'cohen_kapa'; nearest: cohenkappa"),
        (["confusion_matrix"], "metrics.confusion_matrix: its value is not one number"),
        ({"f1_score": {"average": "none"}}, "metrics.f1_score: its value is not one number"),
        ({"f1_score": {"average": "mean"}}, "metrics.f1_score: .*average"),
        ({"f1_score": {"averag": "micro"}}, "metrics.f1_score: .*averag"),
        ({"precision_at_fixed_recall": {}}, "metrics.precision_at_fixed_recall: .*min_recall"),
    ],
)
def test_what_cannot_be_a_metric_is_said_before_the_run(chosen, message):
    with pytest.raises(UserError, match=message):
        build_metrics(chosen, "Multiclass", num_classes=3, ignore_index=-1)


def test_a_task_without_a_library_kind_has_our_own_alone():
    with pytest.raises(UserError, match="unknown metric"):
        build_metrics(["accuracy"], "", num_classes=3, ignore_index=-1)
    assert list(build_metrics(["brier"], "", num_classes=3, ignore_index=-1)) == ["brier"]


@pytest.mark.parametrize("name", metric_files())
def test_every_metric_of_ours_says_which_way_is_better(name):
    assert metric_class(name, "").higher_is_better in (True, False)
