import functools

import pytest
import torch
from torch import nn

from models.losses import cross_entropy as file

loss_of = functools.partial(file.cross_entropy, ignore_index=-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_torchs_on_indices_and_on_shares(smoothing):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 5, generator=generator)
    targets = torch.randint(5, (7,), generator=generator)
    torch_loss = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, targets)
    assert loss_of(logits, targets, label_smoothing=smoothing).item() == pytest.approx(torch_loss.item(), rel=1e-6)
    shares = nn.functional.one_hot(targets, 5).double()
    assert loss_of(logits, shares, label_smoothing=smoothing).item() == pytest.approx(torch_loss.item(), rel=1e-6)


def test_label_smoothing_by_hand():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    expected = -(0.8 * torch.log(torch.tensor(0.7)) + 0.1 * torch.log(torch.tensor(0.2 * 0.1)))
    assert loss_of(logits, torch.tensor([0]), label_smoothing=0.3) == pytest.approx(expected.item())


def test_mixed_shares_weigh_the_two_losses():
    logits = torch.randn(6, 4)
    first, second = torch.randint(4, (2, 6))
    shares = 0.3 * nn.functional.one_hot(first, 4) + 0.7 * nn.functional.one_hot(second, 4)
    expected = 0.3 * loss_of(logits, first) + 0.7 * loss_of(logits, second)
    assert loss_of(logits, shares).item() == pytest.approx(expected.item(), rel=1e-5)


def test_padding_counts_in_neither_sum_nor_mean():
    logits = torch.randn(5, 3, requires_grad=True)
    targets = torch.tensor([0, -1, 2, -1, 1])
    kept = targets >= 0
    expected = loss_of(logits[kept], targets[kept])
    assert torch.equal(loss_of(logits, targets), expected)
    nothing = loss_of(logits, torch.full((5,), -1))
    nothing.backward()
    assert nothing.item() == 0 and torch.equal(logits.grad, torch.zeros(5, 3))


def test_half_precision_logits_are_summed_in_float32():
    logits = torch.randn(64, 10).bfloat16()
    loss = loss_of(logits, torch.zeros(64, dtype=torch.int64))
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_loss_is_torchs_and_the_same_on_indices_and_shares(smoothing):
    generator = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(9, 4, generator=generator), torch.randint(4, (9,), generator=generator)
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0])
    expected = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(logits, targets).item()
    shares = nn.functional.one_hot(targets, 4).float()
    for given in (targets, shares):
        loss = loss_of(logits, given, label_smoothing=smoothing, class_weights=weights)
        assert loss.item() == pytest.approx(expected, rel=1e-6)
    padded = torch.cat([targets, torch.tensor([-1, -1])]), torch.cat([logits, torch.randn(2, 4)])
    loss = loss_of(padded[1], padded[0], label_smoothing=smoothing, class_weights=weights)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_weighted_loss_of_mixed_labels_by_hand():
    probs = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    log = probs.log()
    weighted = 3 * 0.25 * -log[0, 0] + 1 * 0.75 * -log[0, 1] + 3 * -log[1, 0]
    expected = weighted / (3 * 1.25 + 0.75)
    loss = loss_of(log, shares, class_weights=torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_batch_of_no_weight_costs_nothing():
    loss = loss_of(torch.randn(2, 3), torch.tensor([1, -1]), class_weights=torch.tensor([1.0, 0.0, 1.0]))
    assert loss.item() == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_masks_are_torchs_and_the_same_as_shares_of_pixels(smoothing):
    generator = torch.Generator().manual_seed(1)
    logits, masks = torch.randn(2, 4, 5, 6, generator=generator), torch.randint(4, (2, 5, 6), generator=generator)
    masks[0, :2] = 255
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0])
    shares = nn.functional.one_hot(masks.where(masks < 255, 0), 4).movedim(-1, 1) * (masks < 255).unsqueeze(1)
    for weight in (None, weights):
        expected = nn.CrossEntropyLoss(weight=weight, ignore_index=255, label_smoothing=smoothing)(logits, masks)
        for given in (masks, shares.float()):
            found = file.cross_entropy(logits, given, label_smoothing=smoothing, class_weights=weight, ignore_index=255)
            assert found.item() == pytest.approx(expected.item(), rel=1e-6)
