"""How far the links of a chain agree: the net as it was trained, as it is loaded, compiled, exported."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import CARD, read_checkpoint
from models.weights import net_tensors

BATCHES = (1, 2, 7)
"""Numbers of images at once that come first, so that a file which is bound to one number is found out."""
THEN = 64
TOLERANCE = 1e-4
"""Of probabilities: sums in another order differ by some 1e-6."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One link against the reloaded checkpoint.

    Attributes:
        name: what was run.
        logits: greatest difference of a logit, None where it was not run.
        probability: greatest difference of a probability.
        changed: images whose likeliest class is another.
        must_agree: whether a difference is a mistake.
        note: why it was not run, or what the difference means.
    """

    name: str
    logits: float | None = None
    probability: float | None = None
    changed: int | None = None
    must_agree: bool = True
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Whether it may stand; NaN does not."""
        return not self.must_agree or self.probability is None or self.probability <= TOLERANCE


def link(name: str, logits: Tensor, reference: Tensor, *, must_agree: bool = True, note: str = "") -> Link:
    """Compare logits (N, K) to those of the reloaded checkpoint, with single-precision softmax for probabilities."""
    probs, expected = logits.float().softmax(dim=1), reference.softmax(dim=1)
    return Link(
        name=name,
        logits=(logits.float() - reference).abs().max().item(),
        probability=(probs - expected).abs().max().item(),
        changed=int((logits.argmax(dim=1) != reference.argmax(dim=1)).sum()),
        must_agree=must_agree,
        note=note,
    )


def in_batches(function: Callable[[Tensor], Tensor], images: Tensor | Sequence[Tensor]) -> Tensor:
    """Logits (N, K) of images (N, C, H, W) in batches of 1, 2, 7 and then 64; pictures of several sizes one by one."""
    if not isinstance(images, Tensor):
        return torch.cat([function(picture[None]) for picture in images])
    sizes = list(BATCHES)
    parts = []
    while len(images):
        size = sizes.pop(0) if sizes else THEN
        parts.append(function(images[:size].contiguous()))
        images = images[size:]
    return torch.cat(parts)


def net_links(
    net: nn.Module, images: Tensor, *, task: nn.Module | None, checkpoint: Path, compiled: bool
) -> list[Link]:
    """Compare what comes before an exported file.

    Args:
        net: the reloaded checkpoint's, which the others are measured by.
        images: float32 (N, C, H, W), normalised.
        task: the task as training builds it, with the same weights; None where it could not be built.
        checkpoint: the file, which also holds the weights before averaging, where the run averaged them.
        compiled: whether to compile the net.
    """
    with torch.inference_mode():
        reference = in_batches(net, images)
        if task is None:
            links = [Link(name="training-time model", note="not built: its data was not read")]
        else:
            links = [link("training-time model", in_batches(task, images), reference)]
        raw = read_checkpoint(checkpoint).get("current_model_state")
        note = "what the others are measured by" + ("" if raw is None else "; averaged weights (EMA)")
        links.append(link("reloaded checkpoint", reference, reference, note=note))
        if raw is not None:
            other = copy.deepcopy(net)
            other.load_state_dict(net_tensors({CARD: {}, "state_dict": raw}))
            note = "another net on purpose: the averaged weights are used"
            links.append(link("before averaging", in_batches(other, images), reference, must_agree=False, note=note))
        if compiled:
            links.append(_compiled(net, images, reference))
    return links


def _compiled(net: nn.Module, images: Tensor, reference: Tensor) -> Link:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return link("compiled", torch.compile(net)(images), reference)
        except Exception as error:  # no C++ compiler, or an operation that it cannot take
            return Link(name="compiled", note=f"not run: {' '.join(str(error).split())[:80]}")
