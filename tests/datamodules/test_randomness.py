import subprocess
import sys

import pytest
import torch

from datamodules.randomness import balanced_order, generator, key, permutation


def test_key_is_the_same_in_another_process():
    # Python's own hash of text is not: it is salted in every process.
    code = "from datamodules.randomness import key; print(key(3, 'epoch', 'ä', -1))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(there.stdout) == key(3, "epoch", "ä", -1)


def test_key_is_pinned():
    # Changing the hash changes every split and every run: it must not happen by accident.
    assert key(0, "epoch", 0) == 7_796_491_783_548_157_839


def test_key_tells_its_parts_apart():
    parts = [("a", "bc"), ("ab", "c"), ("abc",), (1,), ("1",), (1, 1), (11,), (0, 1), (1, 0), ()]
    assert len({key(*p) for p in parts}) == len(parts)


def test_key_has_63_bits():
    keys = [key(i) for i in range(2000)]
    assert all(0 <= k < 2**63 for k in keys)
    assert len(set(keys)) == 2000
    assert max(keys) > 2**62  # uses the range


@pytest.mark.parametrize("n", [1, 2, 97, 1000])
def test_permutation_holds_each_index_once(n):
    order = permutation(n, seed=1, epoch=2)
    assert order.dtype == torch.int64
    assert order.sort().values.tolist() == list(range(n))


def test_permutation_is_a_function_of_seed_and_epoch_only():
    first = permutation(500, seed=1, epoch=2)
    torch.manual_seed(99)
    torch.rand(7)
    assert torch.equal(permutation(500, seed=1, epoch=2), first)
    assert not torch.equal(permutation(500, seed=1, epoch=3), first)
    assert not torch.equal(permutation(500, seed=2, epoch=2), first)
    assert not torch.equal(permutation(500, seed=2, epoch=1), first)


def test_making_randomness_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    permutation(100, seed=0, epoch=0)
    torch.rand(3, generator=generator(0, "recipe"))
    assert torch.equal(torch.rand(3), expected)


def skewed():
    targets = torch.repeat_interleave(torch.tensor([0, 1, 2, 5]), torch.tensor([70, 20, 3, 9]))
    return targets[torch.randperm(102, generator=torch.Generator().manual_seed(0))]


def test_a_balanced_order_draws_classes_and_their_images_equally_often():
    targets = skewed()
    for epoch in range(5):
        order = balanced_order(targets, seed=1, epoch=epoch)
        assert order.dtype == torch.int64 and len(order) == 102
        classes = targets[order].bincount()[[0, 1, 2, 5]]
        assert sorted(classes.tolist()) == [25, 25, 26, 26]  # 102 = 4 * 25 + 2
        times = order.bincount(minlength=102)
        for label in (0, 1, 2, 5):
            of_class = times[targets == label]
            assert of_class.max() - of_class.min() <= 1
        assert times[targets == 2].min() >= 8  # 25 or 26 draws of 3 images
        assert not torch.equal(targets[order], targets[order].sort().values)  # not class by class


def test_a_balanced_order_is_a_function_of_seed_and_epoch_only():
    first = balanced_order(skewed(), seed=1, epoch=2)
    torch.rand(7)
    assert torch.equal(balanced_order(skewed(), seed=1, epoch=2), first)
    assert not torch.equal(balanced_order(skewed(), seed=1, epoch=3), first)
    assert not torch.equal(balanced_order(skewed(), seed=2, epoch=2), first)


def test_over_the_epochs_every_image_of_a_frequent_class_is_seen():
    seen = torch.cat([balanced_order(skewed(), seed=0, epoch=epoch) for epoch in range(30)])
    assert len(seen.unique()) == 102


def test_equal_classes_keep_each_image_once():
    targets = torch.arange(40) % 4
    assert balanced_order(targets, seed=0, epoch=0).sort().values.tolist() == list(range(40))
