"""The task of capsules: images are drawn again from the capsule of their class, beside the margin loss."""

from pathlib import Path

import pytest
import torch

from models.losses.capsule_margin import capsule_margin
from models.nets.capsnet import CapsNet
from models.tasks.capsules import Capsules
from settings.errors import UserError
from settings.reading.compose import compose
from train import train


def test_the_reconstruction_is_added_to_the_loss_of_the_classes() -> None:
    torch.manual_seed(0)
    net = CapsNet(num_classes=3, in_channels=1, image_size=28, width=4, kinds=1, decoder=True)
    loss = {"name": "capsule_margin"}
    task = Capsules(net=net, class_names="abc", optimizer={}, scheduler={}, loss=loss).train()
    task._start("train")
    images, targets = torch.rand(4, 1, 28, 28), torch.tensor([0, 2, 1, 1])
    found = task.training_step((images, targets), 0)
    capsules: list[torch.Tensor] = []
    net.head.register_forward_hook(lambda *given: capsules.append(given[2]))
    margin = capsule_margin(net(images), targets)
    chosen = torch.zeros(4, 3, 16)
    for index, target in enumerate(targets):
        chosen[index, target] = capsules[0][index, target]
    lacking = (net.decoder(chosen.flatten(1)) - images).square().sum() / 4  # type: ignore[misc]
    torch.testing.assert_close(found, margin + 0.0005 * lacking)
    assert task.sums["train"]["loss"].item() == pytest.approx(4 * margin.item()), "train/loss is that of the classes"
    found.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    task.eval()
    assert task.outputs((images, targets)).shape == (4, 3)
    mixed = torch.eye(3)[targets]
    task.train()
    torch.testing.assert_close(task.training_step((images, mixed), 0), found)


def test_a_run_learns_to_tell_and_to_draw(tmp_path: Path) -> None:
    small = ["model=capsnet_decoder", "model.width=8", "model.kinds=2", "data.per_class=40", "data.batch_size=32"]
    quick = ["trainer.max_epochs=3", "optimizer.lr=0.003", "callbacks=none", f"paths.runs={tmp_path}"]
    metrics = train(["task=capsules", "data=digits", *small, *quick])
    assert metrics["test/accuracy"] > 0.3


def test_defaults_follow_the_task_and_a_decoder_is_trained_by_it_alone() -> None:
    config = compose(["task=capsules"])
    assert (config.model.name, config.loss.name) == ("capsnet_decoder", "capsule_margin")
    with pytest.raises(UserError, match="capsnet has no decoder, which task=capsules needs: model=capsnet_decoder"):
        compose(["task=capsules", "model=capsnet"])
    with pytest.raises(UserError, match=r"model\.decoder=true: only task=capsules trains it"):
        compose(["model=capsnet", "model.decoder=true"])
