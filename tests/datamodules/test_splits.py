import pytest
import torch

from datamodules import splits
from settings.errors import UserError


def uneven(counts=(100, 37, 5, 12)):
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return [f"{label}/{index}" for index, label in enumerate(targets.tolist())], targets


@pytest.mark.parametrize(
    ("fraction", "expected"),
    # By hand, half rounded up: 10 %: 10, 3.7, 0.5, 1.2. 50 %: 50, 18.5, 2.5, 6. 100 % leaves one of each.
    [(0.1, [10, 4, 1, 1]), (0.5, [50, 19, 3, 6]), (0.0, [0, 0, 0, 0]), (1.0, [99, 36, 4, 11])],
)
def test_assign_is_stratified_exactly(fraction, expected):
    keys, targets = uneven()
    chosen = splits.assign(keys, targets, fraction, split_seed=0)
    assert targets[chosen].bincount(minlength=4).tolist() == expected


def test_assign_follows_the_key_and_not_the_order_of_the_list():
    keys, targets = uneven()
    chosen = splits.assign(keys, targets, 0.2, split_seed=0)
    shuffled = torch.randperm(len(keys), generator=torch.Generator().manual_seed(0))
    again = splits.assign([keys[i] for i in shuffled], targets[shuffled], 0.2, split_seed=0)
    assert torch.equal(again, chosen[shuffled])


def test_split_seed_moves_the_choice_and_the_global_seed_does_not():
    keys, targets = uneven()
    torch.manual_seed(0)
    first = splits.assign(keys, targets, 0.2, split_seed=0)
    torch.manual_seed(1)
    assert torch.equal(splits.assign(keys, targets, 0.2, split_seed=0), first)
    assert not torch.equal(splits.assign(keys, targets, 0.2, split_seed=1), first)


def test_a_new_file_moves_at_most_one_old_file():
    keys, targets = uneven((200,))
    before = splits.assign(keys, targets, 0.2, split_seed=0)
    for new in range(30):
        after = splits.assign([*keys, f"new/{new}"], torch.cat([targets, torch.tensor([0])]), 0.2, split_seed=0)
        assert (after[:-1] != before).sum() <= 1


@pytest.mark.parametrize("argument", ["fraction", "per_class"])
def test_subsets_are_nested(argument):
    keys, targets = uneven((100, 37))
    previous = torch.zeros(len(keys), dtype=torch.bool)
    for amount in (1, 3, 10, 37):
        value = amount / 37 if argument == "fraction" else amount
        kept = splits.subset(keys, targets, **{argument: value}, split_seed=3)
        assert not (previous & ~kept).any()
        previous = kept
        if argument == "per_class":
            assert targets[kept].bincount().tolist() == [amount, amount]
    assert not torch.equal(
        splits.subset(keys, targets, per_class=3, split_seed=4),
        splits.subset(keys, targets, per_class=3, split_seed=3),
    )


def test_a_fraction_is_of_each_class_rounded_half_up():
    keys, targets = uneven()  # 100, 37, 5 and 12 images; a tenth by hand: 10, 3.7, 0.5, 1.2
    for fraction, expected in ((0.1, [10, 4, 1, 1]), (0.5, [50, 19, 3, 6]), (1.0, [100, 37, 5, 12])):
        kept = splits.subset(keys, targets, fraction=fraction)
        assert targets[kept].bincount(minlength=4).tolist() == expected


def test_a_small_fraction_keeps_one_image_of_each_class():
    keys, targets = uneven()
    kept = splits.subset(keys, targets, fraction=0.03)
    assert targets[kept].bincount().tolist() == [3, 1, 1, 1]


def test_more_than_a_class_has_is_refused_with_the_counts():
    keys, targets = uneven()
    with pytest.raises(UserError, match=r"data\.per_class=6 .*'c' has: 5 .*at most 5"):
        splits.subset(keys, targets, per_class=6, class_names="abcd")


def test_both_cuts_at_once_are_refused():
    keys, targets = uneven()
    with pytest.raises(UserError, match=r"fraction=0\.5 and data\.per_class=2"):
        splits.subset(keys, targets, fraction=0.5, per_class=2)


def test_a_sample_has_the_count_that_was_asked_for_and_the_classes_shares():
    targets = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    keys = [f"test/{index}" for index in range(100)]
    chosen = splits.sample(keys, targets, 33, 0)
    assert chosen.tolist() == sorted(set(chosen.tolist())) and len(chosen) == 33
    assert targets[chosen].bincount().tolist() == [16, 10, 7]  # exact shares 16.5, 9.9, 6.6
    assert not torch.equal(chosen, splits.sample(keys, targets, 33, 1))
    turned = splits.sample(keys[::-1], targets.flip(0), 33, 0)
    assert {keys[::-1][index] for index in turned} == {keys[index] for index in chosen}
    with pytest.raises(UserError, match=r"data\.test_images=101: there are 100 test images"):
        splits.sample(keys, targets, 101, 0)
