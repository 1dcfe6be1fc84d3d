"""AutoAugment: pairs of operations that a search found for a data set (Cubuk et al. 2018, arxiv.org/abs/1805.09501)."""

from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

import torch

from datamodules.batch.coin import toss
from datamodules.batch.kinds import INDEX, change_each, levels, signed
from datamodules.batch.randaugment import RANGES

LEVELS = 10
POLICIES = ("imagenet", "cifar10", "svhn")


class Pairs(NamedTuple):
    """A policy's 25 pairs: operation (index into `KINDS`), its probability and its level, ``(25, 2)`` each."""

    operations: torch.Tensor
    chances: torch.Tensor
    levels: torch.Tensor


@cache
def pairs_of(policy: str) -> Pairs:
    """The tables of the paper's appendix, from torchvision."""
    from torchvision.transforms.v2 import AutoAugment as Reference
    from torchvision.transforms.v2 import AutoAugmentPolicy

    lines: Any = Reference(AutoAugmentPolicy(policy))._policies
    names = {name.replace("_", ""): index for name, index in INDEX.items()}
    return Pairs(
        torch.tensor([[names[name.lower()] for name, _, _ in line] for line in lines]),
        torch.tensor([[chance for _, chance, _ in line] for line in lines]),
        torch.tensor([[level or 0 for _, _, level in line] for line in lines]),
    )


class Draws(NamedTuple):
    """The pair of each image ``(B,)``; for its two operations whether they happen and are negative ``(B, 2)``."""

    pairs: torch.Tensor
    happens: torch.Tensor
    negative: torch.Tensor


class AutoAugment:
    """Draw one of the policy's 25 pairs for each image, with probability ``p``.

    Args:
        policy: of the data set that the search was made on: "imagenet", "cifar10" or "svhn".
        p: share of the images that is changed at all.
    """

    def __init__(
        self, *, policy: Literal["imagenet", "cifar10", "svhn"] = "cifar10", p: Annotated[float, "0 <= x <= 1"] = 1.0
    ) -> None:
        if policy not in POLICIES:
            raise ValueError(f"policy is one of {', '.join(POLICIES)}; got {policy!r}")
        self.policy = policy
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Return pairs (uniform), which of their operations happen (as the policy says) and signs (a fair coin)."""
        pairs = torch.randint(25, (n,), generator=generator)
        happens = torch.rand(n, 2, generator=generator) < pairs_of(self.policy).chances[pairs]
        negative = torch.rand(n, 2, generator=generator) < 0.5
        return Draws(pairs, happens & toss(n, self.p, generator)[:, None], negative)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Change images ``(B, C, H, W)`` and move their masks ``(B, H, W)``; targets stay."""
        drawn, policy = self.draw(len(images), generator), pairs_of(self.policy)
        table = levels(RANGES, LEVELS, *images.shape[-2:])
        operations = policy.operations[drawn.pairs] * drawn.happens  # (B, 2); 0 is the identity
        strengths = signed(operations, table[operations, policy.levels[drawn.pairs]], drawn.negative)
        images, masks = change_each(images, operations.T, strengths.T, masks=masks, mapped=True)
        return images, targets, masks
