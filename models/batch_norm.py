"""Whether a net normalises over the batch, so that training on one image at a time cannot work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from models.tasks.base import Task

NEEDS_MORE = "more than 1 value per channel"  # torch.nn.functional.batch_norm


def wants_two_images(task: Task, *, channels: int, image_size: int) -> bool:
    """Try one grey image in training mode, as the plan's last epoch has it: then most stages train.

    Statistics, modes and random states are left as they were.

    Args:
        task: as a run would start with it.
        channels: that the net reads.
        image_size: likewise.
    """
    parameter = next(task.net.parameters())
    image = torch.full((1, channels, image_size, image_size), 0.5, dtype=parameter.dtype, device=parameter.device)
    kept = {name: value.clone() for name, value in task.net.named_buffers()}
    training, frozen = task.training, task.freezing.frozen
    trainable = [parameter.requires_grad for parameter in task.net.parameters()]
    task.freezing.start_epoch(max(0, task.freezing.plan.epochs - 1))
    task.train()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            task.net(image)
    except ValueError as error:
        return NEEDS_MORE in str(error)
    finally:
        for parameter, before in zip(task.net.parameters(), trainable, strict=True):
            parameter.requires_grad_(before)
        task.freezing.frozen = frozen
        task.train(training)
        for name, value in task.net.named_buffers():
            value.copy_(kept[name])
    return False
