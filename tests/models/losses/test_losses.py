"""Every loss keeps the contract and equals somebody else's, or its closed form."""

import inspect
from importlib import import_module

import pytest
import torch
from sklearn.metrics import hinge_loss
from timm.loss import BinaryCrossEntropy
from torch import nn
from torch.nn.functional import one_hot
from torchmetrics.functional.classification import multiclass_f1_score
from torchvision.ops import sigmoid_focal_loss

from models.losses import build_loss
from models.losses.binary_cross_entropy import binary_cross_entropy
from models.losses.cross_entropy import cross_entropy
from models.losses.dice import dice
from models.losses.focal import focal
from models.losses.margin import margin
from models.losses.poly1 import poly1
from models.losses.sigmoid_focal import sigmoid_focal
from settings.errors import UserError

WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 3.0])


def draw(kind, *, dtype=torch.float64):
    """Logits of four classes and targets of a kind, two of which are to be ignored."""
    generator = torch.Generator().manual_seed(3)
    shape = (2, 4, 3, 5) if kind == "masks" else (7, 4)
    logits = torch.randn(shape, generator=generator, dtype=dtype)
    if kind == "multilabels":
        targets = torch.randint(2, (7, 4), generator=generator).to(dtype)
    else:
        targets = torch.randint(4, (shape[0], *shape[2:]), generator=generator)
    targets.view(-1)[:2] = -1
    return logits, targets


OURS = (binary_cross_entropy, cross_entropy, dice, focal, margin, poly1, sigmoid_focal)
PAIRS = [(loss, kind) for loss in OURS for kind in import_module(loss.__module__).TARGETS]


def given(loss, **arguments):
    """Those of the arguments that a loss takes."""
    return {name: value for name, value in arguments.items() if name in inspect.signature(loss).parameters}


@pytest.mark.parametrize(("loss", "kind"), PAIRS)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_ignored_targets_change_nothing_and_nothing_at_all_costs_nothing(loss, kind, weights):
    logits, targets = draw(kind)
    chosen = given(loss, class_weights=weights, label_smoothing=0.1)
    expected = loss(logits, targets, ignore_index=-1, **chosen)
    other = logits.clone()
    ignored = (targets == -1) if kind == "multilabels" else (targets == -1).unsqueeze(1).expand_as(logits)
    other[ignored] = 50.0
    assert torch.equal(loss(other, targets, ignore_index=-1, **chosen), expected)
    assert expected.shape == () and expected > 0
    logits.requires_grad_()
    nothing = loss(logits, torch.full_like(targets, -1), ignore_index=-1, **chosen)
    nothing.backward()
    assert nothing.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(("loss", "kind"), PAIRS)
def test_gradients_are_finite_differences_and_half_precision_is_summed_in_float32(loss, kind):
    logits, targets = draw(kind)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda found: loss(found, targets, ignore_index=-1), (logits,))
    found = loss(logits.detach().bfloat16(), targets, ignore_index=-1)
    assert found.dtype == torch.float32
    extreme = (1e4 * logits.detach()).float().requires_grad_()
    loss(extreme, targets, ignore_index=-1).backward()
    assert extreme.grad.isfinite().all()


@pytest.mark.parametrize("loss", [loss for loss, kind in PAIRS if kind == "labels"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_soft_targets_at_one_hot_are_the_hard_ones_and_shares_mix(loss, weights):
    logits, targets = draw("labels")
    logits, targets = logits[2:], targets[2:]
    chosen = given(loss, class_weights=weights, label_smoothing=0.1)
    hot = one_hot(targets, 4).double()
    torch.testing.assert_close(loss(logits, hot, **chosen), loss(logits, targets, **chosen))
    if weights is None and loss is not sigmoid_focal:  # in which the share enters the power
        others = one_hot(targets.flip(0), 4).double()
        mixed = 0.3 * loss(logits, targets, **chosen) + 0.7 * loss(logits, targets.flip(0), **chosen)
        torch.testing.assert_close(loss(logits, 0.3 * hot + 0.7 * others, **chosen), mixed)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_two_classes_is_torchvisions_of_one(gamma):
    logit, target = torch.randn(50, dtype=torch.float64), torch.randint(2, (50,))
    expected = sigmoid_focal_loss(logit, target.double(), alpha=-1, gamma=gamma, reduction="mean")
    logits = torch.stack((torch.zeros(50), logit), dim=1)
    torch.testing.assert_close(focal(logits, target, gamma=gamma), expected)


@pytest.mark.parametrize("kind", ["labels", "masks"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_by_hand_and_cross_entropy_at_gamma_0(kind, weights):
    logits, targets = draw(kind)
    given = {"class_weights": weights, "ignore_index": -1, "label_smoothing": 0.2}
    torch.testing.assert_close(
        focal(logits, targets, gamma=0.0, **given),
        nn.CrossEntropyLoss(weights, None, -1, label_smoothing=0.2)(logits, targets)
        if weights is None
        else cross_entropy(logits, targets, **given),
    )
    kept = targets != -1
    true = targets[kept]
    p = logits.movedim(1, -1)[kept].softmax(dim=1)[torch.arange(len(true)), true]
    weight = torch.ones(len(true)) if weights is None else weights[true]
    expected = (weight * (1 - p) ** 3 * -p.log()).sum() / weight.sum()
    found = focal(logits, targets, gamma=3.0, class_weights=weights, ignore_index=-1)
    torch.testing.assert_close(found, expected.double())


@pytest.mark.parametrize("epsilon", [-1.0, 0.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_poly1_by_hand(epsilon, smoothing):
    logits, targets = draw("labels", dtype=torch.float32)
    logits, targets = logits[2:], targets[2:]
    wanted = one_hot(targets, 4) * (1 - smoothing) + smoothing / 4
    p = (wanted * logits.softmax(dim=1)).sum(dim=1)
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, targets) + epsilon * (1 - p).mean()
    found = poly1(logits, targets, epsilon=epsilon, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("distance", [0.5, 1.0])
def test_margin_is_scikit_learns(distance):
    logits, targets = draw("labels")
    kept = targets >= 0
    expected = hinge_loss(targets[kept].numpy(), (logits[kept] / distance).numpy(), labels=range(4)) * distance
    found = margin(logits, targets, margin=distance, ignore_index=-1)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    two = margin(torch.tensor([[1.0, 3.0, 3.0]]), torch.tensor([1]), squared=True)
    assert two.item() == 1  # two that are equally large: the margin is missed by all of it
    assert margin(torch.tensor([[0.0, 3.0, 0.5]]), torch.tensor([0]), squared=True).item() == 16


def test_binary_cross_entropy_is_timms_and_torchs():
    logits, labels = draw("labels", dtype=torch.float32)
    kept = labels >= 0
    expected = BinaryCrossEntropy(smoothing=0.0)(logits[kept], labels[kept])
    torch.testing.assert_close(binary_cross_entropy(logits, labels, ignore_index=-1), expected)
    logits, there = draw("multilabels", dtype=torch.float32)
    logits, there = logits[2:], there[2:]
    expected = nn.BCEWithLogitsLoss(weight=WEIGHTS, pos_weight=torch.full((4,), 3.0))(logits, there)
    found = binary_cross_entropy(logits, there, class_weights=WEIGHTS, positive_weight=3.0)
    torch.testing.assert_close(found, expected)
    smooth = 0.8 * there + 0.1
    expected = nn.BCEWithLogitsLoss()(logits, smooth)
    torch.testing.assert_close(binary_cross_entropy(logits, there, label_smoothing=0.2), expected)


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sigmoid_focal_is_torchvisions(alpha, gamma):
    logits, there = draw("multilabels")
    known = there >= 0
    expected = sigmoid_focal_loss(
        logits[known], there[known], alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="mean"
    )
    torch.testing.assert_close(sigmoid_focal(logits, there, alpha=alpha, gamma=gamma, ignore_index=-1), expected)
    weighted = sigmoid_focal(logits, there, gamma=0.0, class_weights=WEIGHTS, ignore_index=-1)
    torch.testing.assert_close(weighted, binary_cross_entropy(logits, there, class_weights=WEIGHTS, ignore_index=-1))


def test_dice_of_certain_masks_is_torchmetrics():
    generator = torch.Generator().manual_seed(5)
    predicted, masks = torch.randint(3, (2, 1, 2, 8, 8), generator=generator)  # class 3 never occurs
    logits = 1e3 * one_hot(predicted, 4).movedim(-1, 1).double()
    expected = 1 - multiclass_f1_score(predicted, masks, num_classes=4, average="none")[:3].mean()
    assert dice(logits, masks).item() == pytest.approx(expected.item(), rel=1e-6)


def test_soft_dice_by_hand_counts_no_class_that_is_missing():
    probs = torch.tensor([[0.5, 0.3, 0.2], [0.25, 0.5, 0.25], [0.1, 0.8, 0.1]])
    masks = torch.tensor([[0, 1, 1]])
    first = (2 * 0.5 + 1) / (0.85 + 1 + 1)
    second = (2 * (0.5 + 0.8) + 1) / (1.6 + 2 + 1)
    found = dice(probs.log().T.unsqueeze(0), masks, smooth=1.0)
    assert found.item() == pytest.approx(1 - (first + second) / 2, rel=1e-6)
    with pytest.raises(ValueError, match="shares of several classes"):
        dice(probs.log().T.unsqueeze(0), probs.T.unsqueeze(0))


def test_terms_are_added_by_weight_and_take_class_weights_where_they_can():
    logits, masks = draw("masks")
    chosen = {"name": "focal", "gamma": 1.0, "terms": {"dice": {"weight": 0.5, "smooth": 1.0}, "cross_entropy": {}}}
    found = build_loss(chosen, ignore_index=-1)(logits, masks, class_weights=WEIGHTS)
    expected = (
        focal(logits, masks, gamma=1.0, class_weights=WEIGHTS, ignore_index=-1)
        + 0.5 * dice(logits, masks, smooth=1.0, ignore_index=-1)
        + cross_entropy(logits, masks, class_weights=WEIGHTS, ignore_index=-1)
    )
    assert torch.equal(found, expected)
    plain = build_loss({"label_smoothing": 0.1}, ignore_index=-1)(logits, masks)
    assert torch.equal(plain, cross_entropy(logits, masks, label_smoothing=0.1, ignore_index=-1))
    with pytest.raises(UserError, match="unknown loss 'focall'; nearest: focal"):
        build_loss({"name": "focall"}, ignore_index=-1)
