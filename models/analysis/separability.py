"""How well features tell classes apart: a linear and a nearest-neighbour probe, cross-validated.

The probes look at three descriptions of the same images: the input of a net's head with pretrained weights, the same
with the weights it starts with untrained, and the pixels. Alain and Bengio 2016, arxiv.org/abs/1610.01644, for probes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.stages import stages

FOLDS = 5
NEIGHBOURS = 5
PIXELS = 32
"""Side to which raw pixels are averaged down."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What the probes reached.

    Attributes:
        features: how many numbers describe an image.
        images: how many were probed.
        linear: accuracy of a ridge classifier, mean over the folds.
        neighbours: accuracy of the nearest neighbours.
    """

    features: int
    images: int
    linear: float
    neighbours: float

    @property
    def error(self) -> float:
        """Standard error of the linear probe's accuracy, from the number of images alone."""
        return float(np.sqrt(self.linear * (1 - self.linear) / self.images))


@torch.no_grad()
def head_inputs(net: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Return what the head of a net reads, float32 (N, D): maps and tokens are averaged over their positions.

    Args:
        net: put into evaluation mode for it, and back.
        batches: normalised images (B, C, H, W).
    """
    last = list(stages(net)[-1].parameters)[-1]
    head = net.get_submodule(last.rpartition(".")[0])
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    training, found = net.training, []
    net.eval()
    try:
        for images in batches:
            seen.clear()
            net(images)
            found.append(_flat(seen[0]).float().cpu())
    finally:
        hook.remove()
        net.train(training)
    return torch.cat(found)


def pixel_features(images: Tensor) -> Tensor:
    """Return pixels as they are, float32 (N, D), averaged down to at most `PIXELS` x `PIXELS`; images are uint8."""
    side = min(PIXELS, *images.shape[-2:])
    return nn.functional.adaptive_avg_pool2d(images.float() / 255, side).flatten(1)


def probe(features: Tensor, targets: Tensor) -> Probe | None:
    """Cross-validate both probes on standardised features; None where a class has fewer than two images.

    The ridge's penalty is the number of features, so that the strength does not depend on it.

    Args:
        features: float (N, D).
        targets: int64 (N,).
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(FOLDS, int(torch.unique(targets, return_counts=True)[1].min()))
    if folds < 2:
        return None
    known, labels = torch.nan_to_num(features).numpy(), targets.numpy()
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    scores = []
    neighbours = min(NEIGHBOURS, len(labels) - len(labels) // folds - 1)
    for classifier in (RidgeClassifier(alpha=known.shape[1]), KNeighborsClassifier(max(1, neighbours))):
        scored = cross_val_score(make_pipeline(StandardScaler(), classifier), known, labels, cv=split)
        scores.append(float(np.mean(scored)))
    return Probe(features=known.shape[1], images=len(labels), linear=scores[0], neighbours=scores[1])


def compare_features(
    nets: Mapping[str, nn.Module], batches: Sequence[Tensor], targets: Tensor, *, prepare: Callable[[Tensor], Tensor]
) -> dict[str, Probe]:
    """Probe what each net's head reads, then the `pixels`; nothing where a class has fewer than two images.

    Args:
        nets: by the name of their features.
        batches: images uint8 (B, C, H, W).
        targets: int64 (N,) of all of them.
        prepare: makes the nets' input of images.
    """
    features = {name: head_inputs(net, map(prepare, batches)) for name, net in nets.items()}
    features["pixels"] = torch.cat([pixel_features(images) for images in batches])
    found = {name: probe(each, targets) for name, each in features.items()}
    return {name: one for name, one in found.items() if one is not None}


def _flat(features: Tensor) -> Tensor:
    if features.ndim == 4:  # (B, C, H, W)
        return features.mean(dim=(2, 3))
    return features.mean(dim=1) if features.ndim == 3 else features  # (B, T, C)
