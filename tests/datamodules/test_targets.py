"""Targets by what they are: strata, padding and texts of labels, label sets and masks."""

import pytest
import torch

from datamodules.sources.arrays import ArraySource
from datamodules.targets import blanked, images_of_classes, strata, text

MASKS = torch.tensor([[[0, 0], [0, 255]], [[1, 2], [0, 0]], [[1, 1], [1, 1]], [[2, 0], [1, 3]]], dtype=torch.uint8)
SETS = torch.tensor([[0, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=torch.float32)


def test_a_stratum_is_the_rarest_class_of_an_image() -> None:
    labels = torch.tensor([2, 0, 2])
    assert strata(labels) is labels
    assert strata(SETS).tolist() == [3, 1, 0, 2], "none of them is a stratum of its own, behind the classes"
    assert strata(MASKS).tolist() == [256, 2, 1, 3]
    assert images_of_classes(SETS, 3).tolist() == [3, 2, 1]
    assert images_of_classes(MASKS, 4).tolist() == [0, 3, 2, 1]


def test_padding_counts_nowhere_and_a_text_names_what_is_there() -> None:
    where = torch.tensor([True, False, False, False])
    assert blanked(torch.tensor([1, 2, 3, 4]), where).tolist() == [-1, 2, 3, 4]
    assert (blanked(SETS, where)[0] == -1).all() and torch.equal(blanked(SETS, where)[1:], SETS[1:])
    assert (blanked(MASKS, where)[0] == 255).all() and torch.equal(blanked(MASKS, where)[1:], MASKS[1:])
    names = ("sky", "cat", "dog", "cow")
    assert text(torch.tensor(2), names) == "dog"
    assert [text(one, names[1:]) for one in SETS] == ["", "cat|dog", "cat", "cat|dog|cow"]
    assert [text(one, names) for one in MASKS] == ["", "cat|dog", "cat", "cat|dog|cow"]


def test_a_source_keeps_its_strata_when_images_are_taken_away() -> None:
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    source = ArraySource(images, MASKS, list("abcd"))
    part = source.subset(torch.tensor([3, 1]))
    assert part.strata.tolist() == [3, 2] and part.targets.shape == (2, 2, 2)
    with pytest.raises(ValueError, match="masks of"):
        ArraySource(images, torch.zeros(4, 3, 3, dtype=torch.uint8), list("abcd"))
