"""The first losses of experiments, compared with recorded ones.

Recorded with one thread. Other processors add in another order, hence the tolerance; a change of the data order, the
initialisation, the augmentation, the loss or the optimiser is far outside it. Rewrite on purpose only, and say why in
the commit: `GOLDEN=write python -m pytest tests/house/golden`. For a new experiment, add its name with `[]` first.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from models.tasks.classification import Classification
from train import train

LOSSES = Path(__file__).with_name("losses.json")
RECORDED: dict[str, list[float]] = json.loads(LOSSES.read_text(encoding="utf-8"))
OWN = {"fashion_mnist_fast_94": ["scheduler.warmup_epochs=0.5"]}
"""What an experiment needs to be one epoch long."""


@pytest.mark.parametrize("experiment", RECORDED)
def test_first_losses_are_the_recorded_ones(experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    original = Classification.training_step

    def step(self: Any, *arguments: Any) -> torch.Tensor:
        loss = original(self, *arguments)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(Classification, "training_step", step)
    limits = ["trainer.max_epochs=1", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "test=false"]
    train([f"experiment={experiment}", *limits, *OWN.get(experiment, ()), f"paths.runs={tmp_path}"])
    if os.environ.get("GOLDEN") == "write":
        RECORDED[experiment] = losses
        LOSSES.write_text(json.dumps(RECORDED, indent=2) + "\n", encoding="utf-8")
    assert losses == pytest.approx(RECORDED[experiment], rel=5e-3)
