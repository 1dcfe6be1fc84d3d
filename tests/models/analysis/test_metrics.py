"""Scores equal scikit-learn's and torchmetrics'; intervals equal scipy's."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from models.analysis.metrics import MEANING, bootstrap_intervals, intervals, method, per_image, reliability, scores


def drawn(images: int, classes: int, *, seed: int = 0, absent: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (images,), generator=draws)
    if absent is not None:
        targets[targets == absent] = (absent + 1) % classes
    logits = torch.randn(images, classes, generator=draws, dtype=torch.float64)
    logits[torch.arange(images), targets] += 1.2
    logits[:, 0] -= 1.0  # unequal precision and recall
    return logits.softmax(dim=1), targets


@pytest.mark.parametrize(("classes", "absent"), [(10, None), (7, 3), (3, None)])
def test_scores_equal_those_of_other_libraries(classes, absent):
    probs, targets = drawn(500, classes, absent=absent)
    found = scores(per_image(probs, targets))
    p, y, guess = probs.numpy(), targets.numpy(), probs.argmax(dim=1).numpy()
    seen = sorted(set(y.tolist()))
    macro = sk.precision_recall_fscore_support(y, guess, labels=seen, average="macro", zero_division=0)
    weighted = sk.precision_recall_fscore_support(y, guess, labels=seen, average="weighted", zero_division=0)
    onehot = np.eye(classes)[y]
    expected = {
        "accuracy": sk.accuracy_score(y, guess),
        "accuracy_macro": sk.recall_score(y, guess, labels=seen, average="macro"),
        "precision_macro": macro[0],
        "recall_macro": macro[1],
        "f1_macro": macro[2],
        "precision_weighted": weighted[0],
        "f1_weighted": weighted[2],
        "loss": sk.log_loss(y, p, labels=range(classes)),
        "brier": ((p - onehot) ** 2).sum(axis=1).mean(),
        "ece": multiclass_calibration_error(probs, targets, classes, n_bins=15, norm="l1").item(),
    }
    if classes > 5:
        expected["top5_accuracy"] = sk.top_k_accuracy_score(y, p, k=5, labels=range(classes))
    assert found == pytest.approx(expected, rel=1e-5)  # torchmetrics adds up in single precision
    assert set(found) <= set(MEANING)


def test_a_weight_is_a_repetition():
    probs, targets = drawn(60, 6)
    counts = torch.randint(4, (60,), generator=torch.Generator().manual_seed(1))
    repeated = torch.arange(60).repeat_interleave(counts)
    assert scores(per_image(probs, targets), counts.double()) == pytest.approx(
        scores(per_image(probs[repeated], targets[repeated])), rel=1e-12
    )


def test_intervals_are_those_of_scipy():
    from scipy.stats import bootstrap

    probs, targets = drawn(400, 6)
    each = per_image(probs, targets)
    found = bootstrap_intervals(each, resamples=1500, seed=3)
    assert found == bootstrap_intervals(each, resamples=1500, seed=3)
    assert found != bootstrap_intervals(each, resamples=1500, seed=4)
    guess = probs.argmax(dim=1).numpy()
    for name, score in {
        "accuracy": lambda y, g: float((y == g).mean()),
        "f1_macro": lambda y, g: sk.f1_score(y, g, average="macro"),
    }.items():
        theirs = bootstrap(
            (targets.numpy(), guess), score, paired=True, vectorized=False, n_resamples=400, method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        assert found[name] == pytest.approx(list(theirs), abs=0.01)
        assert found[name][0] < scores(each)[name] < found[name][1]
    assert bootstrap_intervals(each, resamples=0, seed=0) == {}


def test_shares_of_images_have_wilson_s_interval():
    from scipy.stats import binomtest

    probs, targets = drawn(120, 7)
    each = per_image(probs, targets)
    found, values = intervals(each, resamples=200, seed=0), scores(each)
    bootstrap = bootstrap_intervals(each, resamples=200, seed=0)
    for name, value in values.items():
        if name in ("accuracy", "top5_accuracy"):
            theirs = binomtest(round(value * 120), 120).proportion_ci(method="wilson")
            assert found[name] == pytest.approx([theirs.low, theirs.high], rel=1e-9) and method(name) == "Wilson"
        elif name in bootstrap:
            assert found[name] == bootstrap[name] and method(name) == "bootstrap"
    assert list(intervals(each, resamples=0, seed=0)) == ["accuracy", "top5_accuracy"]


def test_bins_are_open_below_and_closed_above():
    probs = torch.tensor([[1.0, 0.0], [0.6, 0.4], [0.6 + 1e-9, 0.4 - 1e-9]], dtype=torch.float64)
    rows = reliability(per_image(probs, torch.tensor([0, 1, 0])))
    assert [(round(low * 15), count, accuracy) for low, _, count, _, accuracy in rows] == [
        (8, 1, 0),
        (9, 1, 1),
        (14, 1, 1),
    ]
