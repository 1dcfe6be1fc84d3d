"""The samples of the pages fork, tasks, losses_and_metrics and optimizers do what the pages say, typed into a copy."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch

ROOT = Path(__file__).parents[2]


def sample(page: str, start: str) -> str:
    """The indented block of a page that begins with these words."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (block,) = re.findall(rf"^ {{4}}{re.escape(start)}.*\n(?:(?: {{4}}.*)?\n)*", text, re.MULTILINE)
    return dedent(block).rstrip() + "\n"


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A copy of the project with the samples in their places."""
    for part in ("configs", "settings", "models", "datamodules", "callbacks", "engine", "reports"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "train.py", tmp_path)

    def change(path: str, before: str, after: str) -> None:
        text = (tmp_path / path).read_text(encoding="utf-8")
        assert before in text, (path, before)
        (tmp_path / path).write_text(text.replace(before, after, 1), encoding="utf-8")

    (tmp_path / "datamodules/parity.py").write_text(sample("fork.md", '"""Which of'))
    lines = dict(re.findall(r"^(\w+): (.+)$", sample("fork.md", "_target_: datamodules.parity"), re.MULTILINE))
    digits = (ROOT / "configs/data/digits.yaml").read_text(encoding="utf-8")
    kept = [line for line in digits.splitlines() if line.partition(":")[0] not in lines]
    text = "\n".join([*kept, *(f"{key}: {value}" for key, value in lines.items())])
    (tmp_path / "configs/data/parity.yaml").write_text(f"{text}\n")

    (tmp_path / "models/nets/spot.py").write_text(sample("fork.md", '"""A net of two layers'))
    nets = "NETS: dict[str, tuple[str, dict[str, Any]]] = {\n"
    change("models/nets/__init__.py", nets, nets + sample("fork.md", '"spot"'))

    (tmp_path / "datamodules/batch/negative.py").write_text(sample("fork.md", '"""Black for white'))
    operations = "OPERATIONS: dict[str, str] = {\n"
    change("datamodules/batch/__init__.py", operations, operations + sample("fork.md", '"negative"'))

    change("models/transfer.py", "\nMODES", "\n" + sample("fork.md", "def alternating") + "\n\nMODES")
    change(
        "models/transfer.py", '    "scratch": scratch,\n', '    "scratch": scratch,\n    "alternating": alternating,\n'
    )
    (tmp_path / "configs/transfer/alternating.yaml").write_text(sample("fork.md", "# Head and the rest"))

    (tmp_path / "models/optimizers/averaged.py").write_text(sample("optimizers.md", '"""Averaged'))
    (tmp_path / "models/schedules/polynomial.py").write_text(sample("optimizers.md", '"""The learning rate falls'))
    (tmp_path / "models/tasks/regression.py").write_text(sample("tasks.md", '"""One number an image'))
    return tmp_path


def test_one_run_uses_all_but_the_loss(fork):
    words = "data=parity data.largest=7 model=spot model.width=16 transfer=alternating task=regression "
    words += "augment.negative.p=1 "
    words += "optimizer=averaged optimizer.lr=0.05 optimizer.decay=0.01 scheduler=polynomial scheduler.power=2 "
    words += "trainer.max_epochs=4 name=first"
    result = subprocess.run([sys.executable, "train.py", *words.split()], cwd=fork, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    summary = json.loads((fork / "runs/parity-spot/first/summary.json").read_text())
    assert summary["monitor"] == "val/mean_absolute_error"
    error, loss = (summary["metrics"][f"test/{name}"] for name in ("mean_absolute_error", "loss"))
    assert error**2 <= loss < 1  # of 0 and 1, by one number an image
    assert (fork / "runs/parity-spot/first/report.html").exists()
    assert re.search(r"^epoch 4/4 .* lr 0 ", result.stdout, re.MULTILINE), result.stdout
    assert re.search(r"^stem +.* 3-4$", result.stdout, re.MULTILINE), result.stdout


def test_the_loss_is_what_it_says():
    module: dict[str, object] = {}
    exec(sample("losses_and_metrics.md", '"""Cross entropy that no'), module)
    logits, targets = torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1])
    found = module["bounded"](logits, targets, most=2.0)  # type: ignore[operator]
    assert found.item() == pytest.approx((torch.tensor(2.0).log().item() + 2.0) / 2)
