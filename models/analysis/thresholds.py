"""From which probability on a label is said to be there: the threshold of best F1, one a label."""

import torch
from torch import Tensor

DEFAULT = 0.5


def best_thresholds(probs: Tensor, targets: Tensor) -> list[float]:
    """The threshold of each label above which F1 is highest on these images.

    Candidates are the middles between neighbouring probabilities, and 0.5. Of several that are equally good the one
    nearest to 0.5 is taken; 0.5 for a label that no image has. Lipton et al. 2014, arxiv.org/abs/1402.1892: what is
    best on few images is too low for rare labels.

    Args:
        probs: (N, K) in [0, 1].
        targets: (N, K), above 0.5 where the label is there.
    """
    return [_best(*one) for one in zip(probs.double().unbind(dim=1), (targets > 0.5).unbind(dim=1), strict=True)]


def _best(probs: Tensor, there: Tensor) -> float:
    support = int(there.sum())
    if not support:
        return DEFAULT
    probs, order = probs.sort()
    below = torch.cat((probs.new_zeros(1), there[order].cumsum(dim=0).to(probs.dtype)))  # hits among the first n
    values = probs.unique()
    middles = (torch.cat((values.new_zeros(1), values[:-1])) + values) / 2
    candidates = torch.cat((values.new_tensor([DEFAULT]), middles))
    first = torch.searchsorted(probs, candidates, right=True)  # the first image that is above
    f1 = 2 * (support - below[first]) / (len(probs) - first + support)
    best = candidates[f1 == f1.max()]
    return float(best[(best - DEFAULT).abs().argmin()])
