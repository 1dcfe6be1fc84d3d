"""Losses of auxiliary heads in training: googlenet and inception_v3 of torchvision."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from models.build import build_net
from models.tasks.classification import Classification


def task(name: str, size: int, **loss: float) -> Classification:
    torch.manual_seed(0)
    arguments = {"aux_logits": True}
    net = build_net(name=name, num_classes=4, in_channels=3, image_size=size, arguments=arguments)
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    made = Classification(net=net, class_names=["a", "b", "c", "d"], optimizer={}, scheduler={}, loss=loss)
    made.train()
    made._start("train")
    return made


@pytest.mark.parametrize(("name", "size", "heads"), [("googlenet", 64, 2), ("inception_v3", 299, 1)])
def test_each_head_adds_its_share_of_the_loss(name: str, size: int, heads: int) -> None:
    made = task(name, size, auxiliary_weight=0.4, label_smoothing=0.1)
    images, targets = torch.rand(2, 3, size, size), torch.tensor([1, 3])
    loss = made.training_step((images, targets), 0)
    with torch.no_grad():  # batch norm in training depends on the batch alone
        main, *auxiliary = (cross_entropy(each, targets, label_smoothing=0.1) for each in made.net(images))
    assert len(auxiliary) == heads
    torch.testing.assert_close(loss.detach(), main + 0.4 * sum(auxiliary))
    assert made.sums["train"]["loss"].item() == pytest.approx(2 * main.item()), "train/loss is the main head's"
    loss.backward()
    assert all(parameter.grad is not None for parameter in made.net.parameters())
    made.eval()
    assert made(images).shape == (2, 4)


def test_the_papers_weight_is_the_default() -> None:
    net = build_net(name="softmax", num_classes=2, in_channels=1, image_size=4, arguments={})
    assert Classification(net=net, class_names="ab", optimizer={}, scheduler={}).auxiliary_weight == 0.3
