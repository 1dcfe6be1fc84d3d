"""Batches on another device than the CPU: the same code, the same result, and nothing that waits for the device.

No GPU is needed: tensors that only say that they are elsewhere hold their numbers on the CPU, and every call of torch
is looked at. What brings numbers back, or mixes both places, is an error, as are calls that grow with the batch.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from datamodules.batch import OPERATIONS, build_recipe, large
from datamodules.batch.kinds import KINDS, change_each

ELSEWHERE = torch.device("meta")  # torch has it without a driver
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"}
GROUPED = {"randaugment", "trivial_augment", "auto_augment", "augmix"}
"""Their calls grow with the number of different (operation, strength) pairs that a batch draws."""


class Held(torch.Tensor):
    """A tensor that says it is elsewhere, and the one that has its numbers."""

    @staticmethod
    def __new__(cls, numbers):
        return torch.Tensor._make_wrapper_subclass(
            cls, numbers.shape, dtype=numbers.dtype, device=ELSEWHERE, strides=numbers.stride()
        )

    def __init__(self, numbers):
        self.numbers = numbers

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} outside of Device")


class Device(TorchDispatchMode):
    """Computes what happens elsewhere, and counts the calls."""

    calls = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls += 1
        kwargs = dict(kwargs or {})
        name = function.overloadpacket._qualified_op_name
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = [one for one in tensors if isinstance(one, Held)]
        to = torch.device(kwargs.get("device") or (ELSEWHERE if there else "cpu"))
        if there:
            assert name not in WAITS and to == ELSEWHERE, f"{name} waits for the device"
            alone = all(isinstance(one, Held) or not one.ndim for one in tensors)
            assert alone or name == "aten::copy_", f"{name} mixes devices"
        if to == ELSEWHERE and "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        args, kwargs = tree_map(lambda leaf: leaf.numbers if isinstance(leaf, Held) else leaf, (args, kwargs))
        result = function(*args, **kwargs)
        if to != ELSEWHERE:
            return result
        known = {id(one.numbers): one for one in there}  # what is changed in place
        return tree_map(
            lambda leaf: known[id(leaf)] if id(leaf) in known else Held(leaf),
            result,
            is_leaf=lambda leaf: isinstance(leaf, torch.Tensor),
        )


class Generator(torch.Generator):
    """One for any device."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")


@pytest.fixture
def device(monkeypatch):
    """Where a batch can be put, inside a `with`."""
    made = torch.tensor
    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(  # torch makes it past all modes
        torch, "tensor", lambda data, *, device="cpu", **how: made(data, **how).to(device)
    )
    return Device


def batch(n):
    noise = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, 12, 12), dtype=torch.uint8, generator=noise), torch.arange(n) % 5


def brightness(images, targets):
    return images.float().mean(dim=1)


def seeded():
    return torch.Generator().manual_seed(4)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_gives_the_same_bits_there_without_waiting(name, device, monkeypatch):
    calls = []
    for n in (120, 40, 120):  # the first makes what is kept for all
        images, targets = batch(n)
        (operation,) = build_recipe({name: {}}, num_classes=5, attention=brightness)
        expected = operation(images, targets, generator=seeded())
        with device() as there, monkeypatch.context() as patch:
            patch.setattr(large, "SMALL", 0)  # what goes image by image is for the CPU alone
            found = operation(Held(images), Held(targets), generator=seeded())
        calls.append(there.calls)
        assert all(one.device == ELSEWHERE for one in found[:2])
        assert torch.equal(found[0].numbers, expected[0]) and torch.equal(found[1].numbers, expected[1])
    assert calls[1] == calls[2] or name in GROUPED, "a loop over images"


def test_groups_are_changed_at_once_however_many_images_they_hold(device):
    calls = []
    for times in (2, 7):
        operations = torch.arange(len(KINDS)).repeat(1, times)  # one round
        with device() as there:
            change_each(Held(batch(operations.numel())[0]), operations, torch.full(operations.shape, 0.5).double())
        calls.append(there.calls)
    assert calls[0] == calls[1]


def test_the_looking_glass_sees_what_waits_and_what_mixes(device):
    image = batch(2)[0]
    for wrong in (lambda there: there.max().item(), lambda there: there.cpu(), lambda there: there + image):
        with pytest.raises(AssertionError, match=r"waits for|mixes"), device():
            wrong(Held(image))
