from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch.nn.functional import cross_entropy

from callbacks.tested_images import CollectTested
from models.analysis.class_scores import class_scores, confusion
from models.nets.softmax import Softmax
from models.tasks.classification import Classification

CLASSES = 5
MEAN, STD = [0.5, 0.25, 0.1], [0.2, 0.3, 0.4]


def draw(count, seed=0):
    numbers = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 4, 6), generator=numbers, dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
    logits = 3 * torch.randn(count, CLASSES, generator=numbers)
    targets = torch.randint(0, CLASSES, (count,), generator=numbers)
    return images, (images / 255 - mean) / std, logits, targets


TASK = Classification(
    net=Softmax(num_classes=CLASSES, in_channels=1, image_size=1), class_names="abcde", optimizer={}, scheduler={}
)


def collect(normalised, logits, targets, *, batches, hardest=7, rank=0, world=1):
    scores = CollectTested(hardest=hardest, mean=MEAN, std=STD)
    trainer = SimpleNamespace(world_size=world, global_rank=rank)
    for part in torch.arange(len(targets)).split(batches):
        scores.on_test_batch_end(trainer, TASK, logits[part], (normalised[part], targets[part]), 0)
    return scores


@pytest.mark.parametrize("batches", [1, 8, 100])
def test_labels_and_the_hardest_images_are_found_in_whatever_batches(batches):
    images, normalised, logits, targets = draw(50)
    scores = collect(normalised, logits, targets, batches=batches)
    true, predicted = scores.labels
    assert torch.equal(true, targets) and torch.equal(predicted, logits.argmax(1))
    losses = cross_entropy(logits.double(), targets, reduction="none")
    expected = losses.argsort(descending=True)[:7]
    wrong = (logits.argmax(1) != targets)[expected]
    assert [one.index for one in scores.hardest] == [*expected[wrong].tolist(), *expected[~wrong].tolist()]
    probs = logits.double().softmax(1)
    for one in scores.hardest:
        assert torch.equal(one.image, images[one.index]), "shown as it was before normalisation"
        assert one.loss == pytest.approx(losses[one.index].item())
        label, guess = int(targets[one.index]), int(logits[one.index].argmax())
        assert one.true == f"{'abcde'[label]} {probs[one.index, label]:.0%}"
        assert one.predicted == f"{'abcde'[guess]} {probs[one.index, guess]:.0%}"
        assert one.is_right == (guess == label)


def test_of_several_views_the_first_is_shown():
    images, normalised, logits, targets = draw(12)
    views = torch.stack((normalised, normalised.flip(-1)), dim=1)  # (B, 2, C, H, W)
    for one in collect(views, logits, targets, batches=5).hardest:
        assert torch.equal(one.image, images[one.index])


def test_padding_is_left_out_and_no_hard_image_may_be_asked_for():
    _, normalised, logits, targets = draw(9)
    padded = targets.clone()
    padded[6:] = -1
    assert len(collect(normalised, logits, padded, batches=4).labels[0]) == 6
    assert collect(normalised, logits, targets, batches=4, hardest=0).hardest == []


def test_two_processes_find_what_one_finds(monkeypatch):
    _, normalised, logits, targets = draw(21)
    alone = collect(normalised, logits, targets, batches=4)
    padded = [torch.cat((tensor, tensor[:1])) for tensor in (normalised, logits, targets)]
    padded[2][-1] = -1
    both = [collect(*(tensor[rank::2] for tensor in padded), batches=4, rank=rank, world=2) for rank in (0, 1)]
    found = [(scores._labels, scores._hard, scores.count) for scores in both]
    monkeypatch.setattr("torch.distributed.all_gather_object", lambda parts, mine: parts.__setitem__(slice(2), found))
    both[0].on_test_epoch_end(SimpleNamespace(world_size=2), None)
    assert all(torch.equal(one, other) for one, other in zip(both[0].labels, alone.labels, strict=True))
    assert [one.index for one in both[0].hardest] == [one.index for one in alone.hardest]
    assert both[0].count == alone.count == 21


def test_scores_of_each_class_equal_scikit_learns():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 200)  # class 4 does not occur
    predicted = np.where(rng.random(200) < 0.5, true, rng.integers(0, 5, 200))
    predicted[predicted == 2] = 0  # class 2 is never predicted
    counts = confusion(torch.tensor(true), torch.tensor(predicted), CLASSES)
    assert np.array_equal(counts.numpy(), confusion_matrix(true, predicted, labels=range(CLASSES)))
    found = class_scores(counts, tuple("abcde"))
    expected = precision_recall_fscore_support(true, predicted, labels=range(CLASSES), zero_division=np.nan)
    for key, values in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        mine = [np.nan if getattr(one, key) is None else getattr(one, key) for one in found]
        assert np.allclose(mine, values, equal_nan=True), key
    assert [one.support for one in found] == expected[3].tolist()
    assert found[2].precision is None and found[4].recall is None
