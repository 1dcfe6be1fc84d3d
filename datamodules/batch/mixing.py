"""What Mixup and CutMix share: soft labels, partners, and that an image is mixed at most once.

Lines of a recipe that mix share one coin: with `mixup.p=0.5` and `cutmix.p=0.5` each image gets the one or
the other, never both. Their probabilities therefore sum to at most 1.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch.nn.functional import one_hot


def soft(targets: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Targets as shares of the classes, float32 ``(B, K)``: one-hot of ``(B,)``, or what they are."""
    return one_hot(targets, num_classes).float() if targets.ndim == 1 else targets.float()


def mix_targets(targets: torch.Tensor, lam: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
    """Return ``lam`` of each image's own label and the rest of its partner's: float32 ``(B, K)``, rows sum to 1.

    Args:
        targets: float32 ``(B, K)``.
        lam: share of the image itself, float32 ``(B,)``.
        partners: int64 ``(B,)``.
    """
    return torch.lerp(targets[partners], targets, lam[:, None])


def draw_partners(n: int, generator: torch.Generator) -> torch.Tensor:
    """Return int64 ``(n,)``: a random cycle through all images, so that none is its own partner if n > 1."""
    order = torch.randperm(n, generator=generator)
    partners = torch.empty_like(order)
    partners[order] = order.roll(-1)
    return partners


def draw_lam(n: int, alpha: float, generator: torch.Generator) -> torch.Tensor:
    """Return float32 ``(n,)`` from Beta(alpha, alpha), in [0, 1]."""
    import numpy as np  # torch's Beta takes no generator

    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n)).float()


class Mixing:
    """An operation that mixes images with partners of the same batch; a subclass says how, in `mix`.

    Args:
        num_classes: K; filled in by the recipe.
        alpha: of the Beta distribution of shares: 1 is uniform, towards 0 the images stay nearly themselves.
        p: share of the images that is mixed.
    """

    mixes: ClassVar[bool] = True

    def __init__(
        self,
        *,
        num_classes: int,
        alpha: Annotated[float, "0.01 <= x <= 100"] = 1.0,
        p: Annotated[float, "0 <= x <= 1"] = 1.0,
    ) -> None:
        self.num_classes = num_classes
        self.alpha = alpha
        self.p = p

    def mix(
        self, images: torch.Tensor, targets: torch.Tensor, masks: torch.Tensor | None, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Mix all images ``(B, C, H, W)`` and their targets, float32 ``(B, K)``."""
        raise NotImplementedError

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Mix a share ``p`` of the images; all targets become float32 ``(B, K)``."""
        return AtMostOne([self])(images, targets, generator=generator, masks=masks)


class AtMostOne:
    """Let one of several mixing operations, or none, change each image.

    Args:
        operations: of one recipe, with probabilities that sum to at most 1.

    Raises:
        ValueError: they sum to more.
    """

    def __init__(self, operations: Sequence[Mixing]) -> None:
        self.operations = list(operations)
        total = sum(operation.p for operation in operations)
        if total > 1 + 1e-9:
            raise ValueError(f"the p of all lines that mix sum to {total:g}, and an image is mixed at most once")

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return int64 ``(n,)``: the index of each image's operation; their count where none is drawn."""
        edges = torch.tensor([operation.p for operation in self.operations], dtype=torch.float64).cumsum(0)
        edges[edges > 1 - 1e-9] = 1.0
        return torch.bucketize(torch.rand(n, generator=generator).double(), edges, right=True)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Mix images within their operation's group; all targets become float32 ``(B, K)``."""
        drawn = self.draw(len(images), generator)
        images, targets = images.clone(), soft(targets, self.operations[0].num_classes).clone()
        masks = None if masks is None else masks.clone()
        for index, operation in enumerate(self.operations):
            chosen = (drawn == index).nonzero()[:, 0].to(images.device)
            if not len(chosen):
                continue
            mine = None if masks is None else masks[chosen]
            images[chosen], targets[chosen], mine = operation.mix(images[chosen], targets[chosen], mine, generator)
            if masks is not None and mine is not None:
                masks[chosen] = mine
        return images, targets, masks
