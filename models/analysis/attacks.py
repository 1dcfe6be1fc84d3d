"""Adversarial attacks within an L-infinity ball of pixels: fast gradient sign method, projected gradient descent.

Pure functions of a loss; images are float (B, C, H, W) in [0, 1], before any normalisation. Gradients are taken by
`torch.autograd.grad`: no parameter's `.grad` is touched.

FGSM: I. Goodfellow et al., Explaining and Harnessing Adversarial Examples (2015). PGD: A. Madry et al., Towards Deep
Learning Models Resistant to Adversarial Attacks (2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.predictor import Predictor

Loss = Callable[[Tensor, Tensor], Tensor]
"""(images (B, C, H, W), targets (B,)) -> the loss of each image (B,)."""


def fgsm(loss: Loss, images: Tensor, targets: Tensor, *, eps: float) -> Tensor:
    """One step of `eps` along the sign of the gradient, within [0, 1]."""
    return (images + eps * _gradient(loss, images, targets).sign()).clamp(0, 1)


def pgd(
    loss: Loss,
    images: Tensor,
    targets: Tensor,
    *,
    eps: float,
    steps: int,
    step_size: float,
    start: Tensor | None = None,
) -> Tensor:
    """Several steps along the sign of the gradient, each put back within `eps` of the image and within [0, 1].

    Args:
        loss: to make large.
        images: float (B, C, H, W) in [0, 1].
        targets: int64 (B,).
        eps: radius of the ball.
        steps: number of them.
        step_size: of one.
        start: added to the images before the first step, within the ball; None starts at the images.
    """
    attacked = images if start is None else (images + start.clamp(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        attacked = attacked + step_size * _gradient(loss, attacked, targets).sign()
        attacked = (images + (attacked - images).clamp(-eps, eps)).clamp(0, 1)
    return attacked


def average_loss(members: Sequence[Predictor]) -> Loss:
    """The negative log-likelihood under the mean probability of one or several nets.

    In double precision, where the device has it: a net that is sure in single precision has no gradient left.
    """

    def loss(images: Tensor, targets: Tensor) -> Tensor:
        dtype = torch.float32 if images.device.type == "mps" else torch.float64
        log_probs = torch.stack([member.logits(images).to(dtype).log_softmax(dim=1) for member in members])  # (M, B, K)
        true = log_probs.gather(2, targets[None, :, None].expand(len(members), -1, 1))[..., 0]
        return math.log(len(members)) - true.logsumexp(dim=0)

    return loss


def _gradient(loss: Loss, images: Tensor, targets: Tensor) -> Tensor:
    with torch.enable_grad():
        images = images.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(images, targets).sum(), images)
    return gradient
