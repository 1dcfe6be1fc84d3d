"""What every loss in the folder keeps, a forker's too."""

import math
import sys
from types import ModuleType

import pytest
import torch

from models import losses
from models.losses import build_loss, loss_files, loss_function
from settings.schema import loss_names


def draw(kind):
    """Logits of four classes, targets of a kind, and which images are to be ignored."""
    generator = torch.Generator().manual_seed(3)
    shape = (6, 4, 3, 5) if kind == "masks" else (6, 4)
    logits = torch.randn(shape, generator=generator)
    targets = torch.randint(4, (6, *shape[2:]), generator=generator)
    if kind == "multilabels":
        targets = (logits + torch.randn(shape, generator=generator) > 0).float()
    targets[1:3] = -1
    return logits, targets


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in loss_files() for kind in loss_names.targets(name)])
def test_every_loss_is_the_mean_over_what_is_not_ignored_and_trains(name, kind):
    loss = build_loss({"name": name}, ignore_index=-1)
    logits, targets = draw(kind)
    logits.requires_grad_()
    found = loss(logits, targets, class_weights=None)
    found.backward()
    assert found.shape == () and found.isfinite() and logits.grad.isfinite().all()
    assert not logits.grad[1:3].any() and logits.grad.any()
    kept = torch.tensor([0, 3, 4, 5])
    assert loss(logits[kept], targets[kept]).item() == pytest.approx(found.item(), rel=1e-5)
    assert loss_function(name).__name__ == name


def test_a_loss_that_ignores_nothing_is_not_handed_it(monkeypatch):
    module = ModuleType("own_loss")
    module.own = lambda logits, targets, *, power=2.0: ((targets.double() - logits.sum(dim=-1)) ** power).mean()
    monkeypatch.setitem(sys.modules, "own_loss", module)
    monkeypatch.setattr(losses, "loss_files", lambda: {"own": "own_loss.own"})
    loss = build_loss({"name": "own", "power": 1.0}, ignore_index=-1)
    logits = torch.tensor([[1.0, 2.0], [5.0, 5.0], [0.0, 1.0]])
    assert loss(logits, torch.tensor([5, -1, 2]), class_weights=torch.ones(2)).item() == 1.5  # of 2 and 1
    assert loss(logits, torch.tensor([-1, -1, -1])).item() == 0
    pixels = logits.T.reshape(1, 2, 3, 1)
    assert loss(pixels, torch.tensor([5, -1, 2]).reshape(1, 3, 1)).item() == 1.5
    several = loss(logits, torch.tensor([[1.0, 0.0], [-1.0, -1.0], [0.0, 0.0]]))
    assert math.isclose(several.item(), ((1 - 3) + (0 - 3) + (0 - 1) * 2) / 4)
