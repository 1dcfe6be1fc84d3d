"""Every task keeps the contract; the metrics of each against other people's code, in whatever batches."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

from models.analysis.mask_colours import overlay, palette
from models.analysis.thresholds import best_thresholds
from models.tasks import task_class, task_files
from models.tasks.base import Task
from models.tasks.classification import Classification
from models.tasks.multilabel import Multilabel
from models.tasks.segmentation import Segmentation
from settings.errors import UserError
from settings.paths import ROOT
from settings.schema import names

CLASSES = 5
NAMES = tuple("abcde")


class Given(nn.Module):
    """A net whose outputs are its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Parameter(torch.zeros(1))

    def stages(self) -> list[tuple[str, list[str]]]:
        return [("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        return images + self.head


def made(cls: type[Task], **more: Any) -> Any:
    task = cls(net=Given(), class_names=NAMES, optimizer={}, scheduler={}, **more)
    task._trainer = SimpleNamespace(world_size=1, global_rank=0)  # type: ignore[assignment]
    return task.eval()


def score(task: Any, outputs: Tensor, targets: Tensor, *, batch: int) -> dict[str, float]:
    """The metrics of a pass in batches of that size."""
    with torch.no_grad():
        task._start("val")
        for part in torch.arange(len(outputs)).split(batch):
            task._score("val", (outputs[part], targets[part]))
        return {name.partition("/")[2]: value for name, value in task._metrics("val").items()}


@pytest.mark.parametrize("name", task_files())
def test_a_task_says_what_the_configuration_reads_from_its_source(name: str) -> None:
    cls = task_class(name)
    assert issubclass(cls, Task) and cls.__name__.lower() == name.replace("_", "")
    for literal in ("targets", "metrics", "in_training", "output", "defaults", "library", "predicts", "activation"):
        assert names.task_value(name, literal) == getattr(cls, literal), literal
    assert set(cls.metrics.values()) <= {"max", "min"} and cls.metrics["loss"] == "min"
    assert set(cls.in_training) <= set(cls.metrics)
    overridden = [one for one in cls.__mro__ if "probabilities" in vars(one)]
    assert overridden == [Task], "predict.py reads `activation`, and imports no task"


def test_tasks_are_listed_without_torch_and_an_unknown_one_names_the_nearest() -> None:
    code = "import sys; from models.tasks import task_files; assert task_files(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    with pytest.raises(UserError, match="segmentation"):
        task_class("segmantation")


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_classification_equals_torchmetrics(batch: int) -> None:
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(60, CLASSES, generator=draws)
    targets = torch.randint(0, CLASSES - 1, (60,), generator=draws)  # the last class does not occur
    padded = torch.cat((targets, torch.tensor([-1, -1])))
    found = score(made(Classification), torch.cat((logits, logits[:2])), padded, batch=batch)
    seen = logits.argmax(1) != CLASSES - 1
    assert found["accuracy"] == pytest.approx(MulticlassAccuracy(CLASSES, average="micro")(logits, targets).item())
    recalls = [float((logits.argmax(1) == targets)[targets == label].double().mean()) for label in range(CLASSES - 1)]
    assert found["accuracy_macro"] == pytest.approx(np.mean(recalls))
    f1 = MulticlassF1Score(CLASSES, average="none")(logits, targets)[: CLASSES - 1]
    assert found["f1_macro"] == pytest.approx(f1.mean().item()) and not seen.all()
    assert found["loss"] == pytest.approx(cross_entropy(logits.double(), targets).item(), rel=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_segmentation_equals_torchmetrics_and_does_not_depend_on_the_batch(batch: int) -> None:
    draws = torch.Generator().manual_seed(1)
    logits = torch.randn(6, CLASSES, 9, 7, generator=draws)
    logits[:, 4] = -9.0  # never predicted, and not there
    masks = torch.randint(0, 4, (6, 9, 7), generator=draws)
    masks[torch.rand(masks.shape, generator=draws) < 0.2] = 255
    masks[5] = 255  # a picture without a pixel that counts
    found = score(made(Segmentation), logits, masks, batch=batch)
    reference = MulticlassJaccardIndex(CLASSES, ignore_index=255, average="none")(logits, masks)[:4]
    assert found["miou"] == pytest.approx(reference.mean().item(), rel=1e-6)
    assert found["dice"] == pytest.approx((2 * reference / (1 + reference)).mean().item(), rel=1e-6)
    accuracy = MulticlassAccuracy(CLASSES, ignore_index=255, average="micro")(logits, masks)
    assert found["pixel_accuracy"] == pytest.approx(accuracy.item())
    assert found["loss"] == pytest.approx(cross_entropy(logits.double(), masks, ignore_index=255).item(), rel=1e-6)


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_multilabel_equals_scikit_learn(batch: int) -> None:
    draws = torch.Generator().manual_seed(2)
    logits = torch.randn(64, CLASSES, generator=draws)
    targets = (torch.rand(64, CLASSES, generator=draws) < 0.3).float()
    padded = torch.cat((targets, torch.full((2, CLASSES), -1.0)))
    found = score(made(Multilabel), torch.cat((logits, logits[:2])), padded, batch=batch)
    true, said = targets.bool().numpy(), (logits > 0).numpy()
    expected = {
        "mean_average_precision": average_precision_score(true, logits.sigmoid().numpy(), average="macro"),
        "f1_macro": f1_score(true, said, average="macro"),
        "f1_micro": f1_score(true, said, average="micro"),
        "exact_match": accuracy_score(true, said),
        "loss": binary_cross_entropy_with_logits(logits.double(), targets.double()).item(),
    }
    assert list(found) == list(expected) == list(Multilabel.metrics)
    assert found == pytest.approx(expected, rel=1e-5)


class Distance(Task):
    """A task as a forker writes it: its loss, and nothing else."""

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return (outputs[:, 0] - batch[1]).abs().mean()


def test_a_loss_is_enough_for_a_task() -> None:
    outputs, targets = torch.randn(9, 1), torch.arange(9)
    task = made(Distance)
    expected = (outputs[:, 0].double() - targets).abs()
    assert score(task, outputs, targets, batch=4) == {"loss": pytest.approx(expected.mean().item(), rel=1e-6)}
    assert task.image_losses(outputs, (outputs, targets)).tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert task.monitor == "val/loss" and task.monitor_mode == "min"


def test_a_checkpoint_of_an_open_epoch_keeps_its_sums_and_old_ones_are_read() -> None:
    task = made(Classification)
    found = {"loss": 3.5, "correct": 2.0, "count": 4.0}
    task.sums["train"] = {name: torch.tensor(value) for name, value in found.items()}
    stored: dict[str, Any] = {}
    task.on_save_checkpoint(stored)
    for sums in (stored["train_sums"], torch.tensor([[3.5, 2.0, 4.0]])):  # the second as version 0.1 wrote it
        fresh = made(Classification)
        fresh.on_load_checkpoint({"train_sums": sums})
        assert {name: float(value) for name, value in fresh.sums["train"].items()} == found


def test_a_mask_is_shown_in_the_colours_of_pascal_voc() -> None:
    assert palette()[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    image = torch.full((3, 2, 2), 100, dtype=torch.uint8)
    shown = overlay(image, torch.tensor([[0, 1], [255, 2]]), opacity=0.5)
    assert shown[:, 0, 0].tolist() == shown[:, 1, 0].tolist() == [100, 100, 100]
    assert shown[:, 0, 1].tolist() == [114, 50, 50] and shown[:, 1, 1].tolist() == [50, 114, 50]


def test_labels_are_decided_by_the_thresholds_of_validation() -> None:
    draws = torch.Generator().manual_seed(4)
    logits = torch.randn(40, CLASSES, generator=draws)
    targets = (torch.rand(40, CLASSES, generator=draws) < 0.3).float()
    task = made(Multilabel)
    score(task, torch.cat((logits, logits[:2])), torch.cat((targets, torch.full((2, CLASSES), -1.0))), batch=7)
    probs, seen = task._all_validated()
    torch.testing.assert_close(probs, logits.sigmoid())
    assert torch.equal(seen, targets), "padding counts nowhere"
    task.use_calibration(task.calibration(probs, seen))
    assert task.thresholds == best_thresholds(probs, targets) != [0.5] * CLASSES
    said = (logits.sigmoid().double() > torch.tensor(task.thresholds, dtype=torch.float64)).numpy()
    found, true = score(task, logits, targets, batch=16), targets.bool().numpy()
    assert found["f1_macro"] == pytest.approx(f1_score(true, said, average="macro"))
    assert found["exact_match"] == pytest.approx(accuracy_score(true, said))
    assert found["f1_macro"] > f1_score(true, (logits > 0).numpy(), average="macro")
    counts = task.label_counts()
    assert counts.hits.tolist() == (said & true).sum(0).tolist() and counts.claimed.tolist() == said.sum(0).tolist()
    assert counts.support.tolist() == true.sum(0).tolist()
    row = task.row(logits, (logits, targets), 3)
    assert row["labels"] == "|".join(name for name, there in zip(NAMES, said[3], strict=True) if there)
