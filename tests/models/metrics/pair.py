"""What each of two processes does for `test_gathering.py`: `pair.py STORE RANK OUT`."""

import json
import sys
from pathlib import Path

import torch
from torch import distributed

from models.metrics import build_metrics, gathered_value, update_metrics

CHOSEN = {
    "auroc": {},
    "cohen_kappa": {},
    "brier": {},
    "calibration_error": {"n_bins": 5},
    "f1_score": {"average": "micro"},
}
CASES = {"3 and 2": ([3], [2]), "5 and 0": ([3, 2], [0]), "0 and 5": ([0], [2, 3]), "none": ([0], [0])}
"""Images in the batches of process 0 and of process 1; the rest of each batch of 4 is padding."""


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (5, 3) and class indices (5,)."""
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    return logits.softmax(dim=1), torch.tensor([0, 2, 1, 1, 2])


def values(batches: list[tuple[torch.Tensor, torch.Tensor]], world_size: int) -> dict[str, float]:
    """Every metric after the batches of this process, of those of all."""
    metrics = build_metrics(CHOSEN, "Multiclass", num_classes=3, ignore_index=-1)
    for probs, targets in batches:
        update_metrics(metrics.values(), probs, targets, ignore_index=-1)
    first = {name: gathered_value(metric, world_size) for name, metric in metrics.items()}
    assert repr(first) == repr({name: gathered_value(metric, world_size) for name, metric in metrics.items()})
    return first


def padded(probs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of 4, filled up with the target -1."""
    missing = 4 - len(targets)
    return torch.cat([probs, torch.rand(missing, 3)]), torch.cat([targets, torch.full((missing,), -1)])


def main(store: str, rank: int, out: Path) -> None:
    """Find the values of each case and write them."""
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    probs, targets = images()
    found = {}
    for case, parts in CASES.items():
        begin = sum(parts[0]) * rank
        batches = []
        for size in parts[rank]:
            batches.append(padded(probs[begin : begin + size], targets[begin : begin + size]))
            begin += size
        found[case] = values(batches, 2)
    out.write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
