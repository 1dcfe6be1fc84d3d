import pytest
import torch

from datamodules.sources.arrays import ArraySource


@pytest.fixture
def source():
    images = torch.arange(5 * 2 * 3 * 4, dtype=torch.uint8).view(5, 2, 3, 4)
    return ArraySource(images, torch.tensor([4, 3, 2, 1, 0]), list("abcde"))


def test_a_batch_is_what_the_indices_name(source):
    images, targets = source[torch.tensor([3, 0, 3])]
    assert (images.dtype, images.shape, targets.tolist()) == (torch.uint8, (3, 2, 3, 4), [1, 4, 1])
    assert images[1].flatten().tolist() == list(range(24))
    assert torch.equal(images[0], images[2])


def test_a_subset_keeps_keys_and_targets_together(source):
    part = source.subset(torch.tensor([4, 1]))
    assert (len(part), part.keys, part.targets.tolist()) == (2, ["e", "b"], [0, 3])
    assert torch.equal(part.images[1], source.images[1])


def test_the_fingerprint_sees_pixels_targets_and_keys(source):
    def changed(images=source.images, targets=source.targets, keys=source.keys):
        return ArraySource(images, targets, keys).fingerprint()

    pixel = source.images.clone()
    pixel[4, 1, 2, 3] += 1
    prints = [
        changed(),
        changed(images=pixel),
        changed(images=source.images.view(5, 2, 4, 3)),
        changed(targets=torch.tensor([4, 3, 2, 0, 1])),
        changed(keys=list("abcdf")),
    ]
    assert len(set(prints)) == 5
    assert changed(images=source.images.clone()) == source.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(5, 2, 3, 4)}, "uint8"),
        ({"images": torch.zeros(5, 3, 4, dtype=torch.uint8)}, r"\(5, 3, 4\)"),
        ({"targets": torch.zeros(5, dtype=torch.int32)}, "int64"),
        ({"keys": list("abcd")}, "5 images, 5 targets, 4 keys"),
        ({"keys": list("abcda")}, "5 keys, of which 4 differ"),
    ],
)
def test_what_does_not_fit_is_refused(source, change, message):
    good = {"images": source.images, "targets": source.targets, "keys": source.keys}
    with pytest.raises(ValueError, match=message):
        ArraySource(**(good | change))
