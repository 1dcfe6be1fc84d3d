"""Splits, loaders and the device step, on the real digits; what needs a trainer is in test_resume.py."""

import itertools
import warnings
from types import SimpleNamespace

import pytest
import torch

from datamodules.base import ImageDataModule
from datamodules.digits import Digits
from datamodules.sources.arrays import ArraySource
from settings.errors import UserError
from settings.preprocessing import Preprocessing

LIGHT = {"random_crop": {"padding": 0.125}, "horizontal_flip": {"p": 0.5}}


def digits(**settings):
    data = Digits()
    data.configure(**settings)
    data.prepare_data()
    data.setup("fit")
    return data


def raw(loader):
    return [(images.clone(), targets.clone()) for images, targets in loader]


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_the_batch_contract():
    data = digits(batch_size=64, recipe=LIGHT)
    images, targets = next(iter(data.train_dataloader()))
    assert (images.dtype, images.shape) == (torch.uint8, (64, 1, 8, 8))
    assert (targets.dtype, targets.shape) == (torch.int64, (64,))
    for ready, kept in (
        data.train_batch((images, targets), step=0),
        data.evaluation_batch((images, targets)),
    ):
        assert (ready.dtype, ready.shape) == (torch.float32, (64, 1, 8, 8))
        assert torch.equal(kept, targets)


def test_validation_is_a_stratified_tenth_and_all_splits_are_disjoint():
    data = digits()
    held_out = data.splits["val"].targets.bincount()
    everything = held_out + data.splits["train"].targets.bincount()
    assert torch.equal(held_out, (everything / 10 + 0.5).long())
    keys = [name for source in data.splits.values() for name in source.keys]
    assert len(keys) == len(set(keys)) == 1797


def test_split_seed_moves_the_validation_cut_and_seed_does_not():
    reference = digits()
    assert digits(seed=7).splits["val"].keys == reference.splits["val"].keys
    moved = digits(split_seed=7)
    assert moved.splits["val"].keys != reference.splits["val"].keys
    assert moved.splits["test"].keys == reference.splits["test"].keys


@pytest.mark.parametrize("cut", [{"fraction": 0.3}, {"per_class": 20}])
def test_subsets_cut_training_images_only(cut):
    reference, part = digits(), digits(**cut)
    for split in ("val", "test"):
        assert part.splits[split].keys == reference.splits[split].keys
    assert set(part.splits["train"].keys) < set(reference.splits["train"].keys)
    counts = part.splits["train"].targets.bincount()
    whole = reference.splits["train"].targets.bincount()
    assert torch.equal(counts, (whole * 0.3 + 0.5).long() if "fraction" in cut else torch.full((10,), 20))
    assert part.fingerprint() == reference.fingerprint()  # of the data set, not of the cut
    assert digits(**cut, split_seed=1).splits["train"].keys != part.splits["train"].keys


def test_impossible_cuts_are_refused_with_counts():
    with pytest.raises(UserError, match=r"per_class=500 .* training images"):
        digits(per_class=500)
    with pytest.raises(UserError, match=r"no image is left for val \(train 1438, val 0, test 359"):
        digits(val_fraction=0.001)


def test_overfit_reads_the_same_few_images_in_training_and_validation():
    data = digits(overfit_batches=2, batch_size=16)
    assert len(data.splits["train"]) == 32
    assert data.splits["val"].keys == data.splits["train"].keys
    assert len(data.train_dataloader()) == 2
    assert len(data.splits["test"]) == 359
    assert len(data.splits["train"].targets.unique()) > 5  # not the first files of a sorted list


def test_setup_reads_the_data_once(monkeypatch):
    calls = []
    monkeypatch.setattr(Digits, "sources", lambda self, read=Digits.sources: calls.append(1) or read(self))
    data = digits()
    first = data.splits
    data.setup("test")
    data.setup()
    assert len(calls) == 1
    assert data.splits is first


def test_the_split_table_lists_each_image_with_its_class():
    data = digits()
    rows = list(data.split_table())
    assert len(rows) == 1797
    assert {split for _, _, split in rows} == {"train", "val", "test"}
    assert ("digits/0000", "0", "train") in rows or ("digits/0000", "0", "val") in rows


def test_two_passes_over_validation_are_bit_identical_and_two_over_training_are_not():
    data = digits(recipe=LIGHT)
    loader = data.val_dataloader()
    first = [data.evaluation_batch(batch) for batch in loader]
    torch.manual_seed(1)
    assert same([data.evaluation_batch(batch) for batch in loader], first)
    assert sum(len(targets) for _, targets in first) == len(data.splits["val"])
    train = data.train_dataloader()
    assert not same(raw(train), raw(train))  # another order
    batch = next(iter(train))
    assert not torch.equal(data.train_batch(batch, step=0)[0], data.train_batch(batch, step=1)[0])


def test_without_a_recipe_training_sees_what_evaluation_sees():
    data = digits()
    batch = next(iter(data.train_dataloader()))
    assert same([data.train_batch(batch, step=3)], [data.evaluation_batch(batch)])


def test_the_recipe_cannot_reach_evaluation():
    assert same(
        [digits(recipe=LIGHT).evaluation_batch(batch) for batch in digits().val_dataloader()],
        [digits().evaluation_batch(batch) for batch in digits().val_dataloader()],
    )


def test_batches_are_a_function_of_seed_epoch_and_step_not_of_what_ran_before():
    def epochs(seed, disturb):
        data = digits(seed=seed, recipe=LIGHT)
        loader, seen = data.train_dataloader(), []
        for epoch in range(2):
            if disturb:
                torch.rand(17)
                list(data.val_dataloader())
            seen += [data.train_batch(batch, step=100 * epoch + i) for i, batch in enumerate(loader)]
        return seen

    reference = epochs(0, disturb=False)
    assert same(epochs(0, disturb=True), reference)
    assert not same(epochs(1, disturb=False), reference)


def test_ranks_draw_differently():
    data = digits(recipe=LIGHT)
    batch = next(iter(data.train_dataloader()))
    assert not torch.equal(data.train_batch(batch, step=0, rank=0)[0], data.train_batch(batch, step=0, rank=1)[0])


def test_loaders_leave_the_global_generator_alone():
    data = digits(recipe=LIGHT)
    state = torch.get_rng_state()
    batches = raw(data.train_dataloader()) + raw(data.val_dataloader())
    data.train_batch(batches[0], step=0)
    assert torch.equal(torch.get_rng_state(), state)


def stub(data, *, rank=0, world=1, accumulation=1):
    """Put the module under something that looks like a trainer that is not training."""
    data.trainer = SimpleNamespace(
        global_rank=rank, world_size=world, accumulate_grad_batches=accumulation, training=False
    )
    return data


def test_two_ranks_share_the_global_batches():
    whole = raw(digits(batch_size=64).train_dataloader())
    ranks = [raw(stub(digits(batch_size=64), rank=rank, world=2).train_dataloader()) for rank in (0, 1)]
    joined = [(torch.cat([a, c]), torch.cat([b, d])) for (a, b), (c, d) in zip(*ranks, strict=True)]
    assert same(joined, whole)
    tests = [[targets for _, targets in stub(digits(), rank=rank, world=2).test_dataloader()] for rank in (0, 1)]
    assert [len(targets) for targets in tests[0]] == [len(targets) for targets in tests[1]]  # padded with -1
    assert sum(int((targets >= 0).sum()) for targets in itertools.chain(*tests)) == 359


def test_accumulation_splits_the_global_batch():
    loader = stub(digits(batch_size=64), accumulation=4).train_dataloader()
    assert len(next(iter(loader))[1]) == 16
    assert len(loader) == 4 * (1293 // 64)


def test_a_batch_size_that_does_not_divide_is_refused_with_the_numbers():
    with pytest.raises(UserError, match=r"batch_size=64 .* 3 processes x .*=2.* multiple of 6"):
        stub(digits(batch_size=64), world=3, accumulation=2).train_dataloader()
    with pytest.raises(UserError, match="batch_size=2"):
        stub(digits(batch_size=2), world=4).val_dataloader()


def test_workers_are_refused_politely_once():
    data = Digits()
    data.configure(num_workers=2)
    with pytest.warns(UserWarning, match=r"num_workers=2 is ignored: Digits lies in memory"):
        data.setup()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.setup()
        assert data.train_dataloader().num_workers == 0


def test_preprocessing_sizes_and_channels_hold_for_training_and_evaluation():
    preprocessing = Preprocessing(
        image_size=32, resize=36, interpolation="bilinear", channels=3, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    data = digits(preprocessing=preprocessing, recipe=LIGHT, batch_size=8)
    batch = next(iter(data.train_dataloader()))
    for images, _ in (data.train_batch(batch, step=0), data.evaluation_batch(batch)):
        assert images.shape == (8, 3, 32, 32)
        assert images.abs().max() == pytest.approx(1, abs=1e-6)


def test_small_arrays_are_brought_to_size_once_and_give_the_same_batches(monkeypatch):
    preprocessing = Preprocessing(
        image_size=32, resize=36, interpolation="bilinear", channels=3, mean=(0.5,) * 3, std=(0.5,) * 3
    )

    def batches(most: int) -> tuple[torch.Size, torch.Tensor]:
        monkeypatch.setattr("datamodules.base.FITTED_AT_MOST", most)
        data = digits(preprocessing=preprocessing, recipe=LIGHT, batch_size=64)
        loaded = list(data.train_dataloader())
        made = [data.train_batch(batch, step=step)[0] for step, batch in enumerate(loaded)]
        assert data.plain_batch("val", torch.arange(3))[0].shape == (3, 3, 32, 32)
        return loaded[0][0].shape, torch.stack(made)

    (once, first), (each, second) = batches(2**27), batches(0)
    assert (tuple(once), tuple(each)) == ((64, 3, 32, 32), (64, 1, 8, 8))
    assert torch.equal(first, second)


class Own(ImageDataModule):
    """A forker's data set with a validation set of its own and no test set."""

    class_names = ("a", "b")
    channels, image_size, mean, std = 1, 4, (0.5,), (0.5,)

    def sources(self):
        def part(name, count):
            return ArraySource(
                torch.zeros(count, 1, 4, 4, dtype=torch.uint8),
                torch.arange(count) % 2,
                [f"{name}/{index}" for index in range(count)],
            )

        return {"train": part("train", 10), "val": part("val", 6)}


def test_a_validation_set_of_its_own_is_used_and_a_missing_test_set_is_not_invented():
    data = Own()
    data.setup()
    assert {split: len(source) for split, source in data.splits.items()} == {"train": 10, "val": 6}
    with pytest.raises(UserError, match="Own has no test images; it has train, val"):
        data.test_dataloader()
