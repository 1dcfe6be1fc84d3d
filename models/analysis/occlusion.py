"""Occlusion: cover a window of the image, and see how far the score falls.

Zeiler and Fergus 2013, arxiv.org/abs/1311.2901, section 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.analysis.at_rest import at_rest
from models.analysis.wanted_score import wanted_score


@torch.no_grad()
def occlusion(
    net: nn.Module,
    images: Tensor,
    wanted: Tensor,
    *,
    window: int,
    stride: int,
    fill: float = 0.0,
    batch_size: int = 256,
) -> Tensor:
    """How far the score falls where each pixel is covered, float32 (B, H, W): the mean over the windows that cover it.

    Windows stand every `stride` pixels; the last ones may reach over the border. A pixel that none covers has 0.

    Args:
        net: maps images to logits (B, K) or (B, K, H, W).
        images: (B, C, H, W) as the net reads them.
        wanted: classes int64 (B,), or weights of the outputs (`wanted_score`).
        window: side of the square that is covered, in pixels.
        stride: pixels between two windows.
        fill: what stands in the window; 0 is the mean of the data, once normalised.
        batch_size: covered images at once.
    """
    height, width = images.shape[2:]
    corners = [(y, x) for y in _starts(height, window, stride) for x in _starts(width, window, stride)]
    found = torch.zeros(len(images), height, width)
    with at_rest(net):
        for index, image in enumerate(images):
            own = wanted[index : index + 1]
            whole = wanted_score(net(image[None]), own)
            count = torch.zeros(height, width)
            for start in range(0, len(corners), batch_size):
                chosen = corners[start : start + batch_size]
                covered = image.repeat(len(chosen), 1, 1, 1)
                for one, (y, x) in zip(covered, chosen, strict=True):
                    one[:, y : y + window, x : x + window] = fill
                outputs = net(covered)
                scores = wanted_score(outputs, own.expand(len(chosen), *own.shape[1:]))
                for (y, x), fall in zip(chosen, (whole - scores).float().tolist(), strict=True):
                    found[index, y : y + window, x : x + window] += fall
                    count[y : y + window, x : x + window] += 1
            found[index] /= count.clamp_min(1)
    return found


def _starts(size: int, window: int, stride: int) -> range:
    return range(0, max(1, size - window + stride), stride)
