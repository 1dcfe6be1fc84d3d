from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from datamodules.digits import Digits
from settings.errors import UserError


@pytest.fixture(scope="module")
def sources():
    return Digits().sources()


def test_holds_all_of_scikit_learns_digits_once(sources):
    digits = load_digits()
    keys = sources["train"].keys + sources["test"].keys
    assert sorted(keys) == [f"digits/{index:04d}" for index in range(1797)]
    order = np.array([int(name[-4:]) for name in keys])
    images = torch.cat([sources["train"].images, sources["test"].images])
    targets = torch.cat([sources["train"].targets, sources["test"].targets])
    assert (images.dtype, images.shape) == (torch.uint8, (1797, 1, 8, 8))
    assert np.array_equal(targets.numpy(), digits.target[order])
    assert np.array_equal(images[:, 0].numpy(), np.round(digits.images[order] * 255 / 16))
    assert (images.min(), images.max()) == (0, 255)


def test_the_test_set_is_a_stratified_fifth(sources):
    everything = np.bincount(load_digits().target)
    fifth = sources["test"].targets.bincount().numpy()
    assert np.array_equal(fifth, np.floor(everything / 5 + 0.5))


@pytest.mark.parametrize("seeds", [{"seed": 1}, {"split_seed": 1}])
def test_no_seed_moves_the_test_set(sources, seeds):
    data = Digits()
    data.configure(**seeds)
    data.setup()
    assert data.splits["test"].keys == sources["test"].keys
    # Pinned: a moved test set would make all results that are on record incomparable.
    assert data.splits["test"].keys[:4] == ["digits/0008", "digits/0014", "digits/0029", "digits/0051"]


def test_mean_and_std_are_those_of_the_training_images(sources):
    pixels = sources["train"].images.double() / 255
    assert Digits.mean[0] == pytest.approx(pixels.mean().item(), abs=5e-5)
    assert Digits.std[0] == pytest.approx(pixels.std(correction=0).item(), abs=5e-5)


def test_a_folder_that_would_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"leave data\.root out"):
        Digits(root=tmp_path).prepare_data()
