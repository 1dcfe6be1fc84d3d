"""Class imbalance end to end, on digits of which some classes are cut short: closed forms of counts and weights."""

import pytest
import torch

from datamodules.digits import Digits
from datamodules.sources.arrays import ArraySource
from models.class_weights import choose_class_weights
from models.nets.softmax import Softmax
from models.tasks.classification import Classification

KEPT = (100, 40, 10, 100, 100, 5, 100, 60, 100, 20)
"""Images of each digit that are left to train on and to validate with."""


class Skewed(Digits):
    """Digits with other counts of classes."""

    def sources(self) -> dict[str, ArraySource]:
        """Keep the first images of each class."""
        sources = super().sources()
        train = sources["train"]
        kept = [(train.targets == label).nonzero()[:count, 0] for label, count in enumerate(KEPT)]
        return {**sources, "train": train.subset(torch.cat(kept))}


def skewed(**settings):
    data = Skewed()
    data.configure(batch_size=20, **settings)
    data.setup("fit")
    return data


def counted(data):
    return torch.cat([targets for _, targets in data.train_dataloader()]).bincount(minlength=10)


def test_counts_are_those_of_the_training_split():
    held_out = [int(0.1 * count + 0.5) for count in KEPT]
    assert skewed().class_counts() == [count - out for count, out in zip(KEPT, held_out, strict=True)]


def test_oversampling_draws_each_class_equally_often_in_as_many_batches():
    plain, balanced = skewed(), skewed(balance="oversample")
    assert len(plain.train_dataloader()) == len(balanced.train_dataloader()) == sum(plain.class_counts()) // 20
    drawn = counted(balanced)
    total = int(drawn.sum())
    assert drawn.max() - drawn.min() <= 1 + 20  # one draw, and what the dropped last batch would have held
    assert (counted(plain) < total / 20).nonzero()[:, 0].tolist() == [2, 5, 9]  # rare in the plain order
    assert balanced.class_counts() == plain.class_counts()
    for split in ("val", "test"):
        assert balanced.splits[split].keys == plain.splits[split].keys


def test_an_oversampled_epoch_goes_on_at_any_batch():
    data = skewed(balance="oversample", seed=3)
    batches = data.train_dataloader().sampler
    whole = list(batches)
    batches.position = lambda: (0, 7)
    assert all(torch.equal(a, b) for a, b in zip(batches, whole[7:], strict=True))
    batches.position = lambda: (1, 0)
    assert not torch.equal(next(iter(batches)), whole[0])


def test_the_weighted_loss_of_a_constant_net_is_that_of_balanced_classes():
    """With n / (K n_k) each class weighs the same: for a net that ignores its input, the mean over classes."""
    data = skewed()
    counts = data.class_counts()
    weights = choose_class_weights("balanced", counts)
    task = Classification(
        net=Softmax(num_classes=10, in_channels=1, image_size=1),
        class_names=data.class_names,
        optimizer={},
        scheduler={},
        loss={"class_weights": weights},
    )
    from models.losses.cross_entropy import cross_entropy

    log_probs = torch.log_softmax(torch.arange(10.0) / 3, dim=0)
    targets = data.splits["train"].targets
    loss = cross_entropy(log_probs.expand(len(targets), 10), targets, class_weights=task.class_weights)
    assert loss.item() == pytest.approx(-log_probs.mean().item(), rel=1e-5)
    assert "class_weights" not in task.state_dict()
