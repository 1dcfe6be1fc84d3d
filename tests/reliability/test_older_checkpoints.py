"""Runs of commit 2dbfc41, made before the task contract: they are loaded, started from and resumed as that commit did.

`tests/fixtures/runs_of_2dbfc41` holds what it wrote, on one thread, with `data.per_class=24 data.forbid=[]
data.batch_size=32 callbacks=none paths.runs=oldruns` and

    softmax      model=softmax trainer.max_epochs=5
    whole        model=mlp model.widths=[8] model.dropout=0.1 augment=light optimizer=sgd optimizer.lr=0.1
                 scheduler=cosine callbacks.ema.decay=0.9 callbacks.early_stopping.patience=9 trainer.max_epochs=5
    interrupted  the same, stopped by SIGTERM in its 12th of 35 steps

`expected.json` has the probabilities that its `evaluate.py` and `predict.py` gave for some images of the test split.
`summary.json` lacks the machine. `tests/test_evaluate.py` and `tests/test_predict.py` read the same runs.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

from models import load_run
from models.build import build_net
from models.weights import load_file_into
from train import train

RUNS = Path(__file__).parents[1] / "fixtures" / "runs_of_2dbfc41"
NAMES = ("softmax", "whole", "interrupted")


def expected(name: str) -> dict[str, Any]:
    return json.loads((RUNS / name / "expected.json").read_text())


def probabilities(net: torch.nn.Module, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What the net says of the recorded images, prepared by hand, and what was recorded: (N, 10) each."""
    said = expected(name)["probabilities"]
    images = torch.from_numpy(load_digits().images[[int(key) for key in said]])
    images = ((images * 15.9375).round().float()[:, None] / 255 - 0.3049) / 0.3755  # mean and deviation of `digits`
    with torch.inference_mode():
        return net.eval()(images).softmax(dim=1), torch.tensor(list(said.values()))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_loaded_with_the_predictions_that_it_had(name: str) -> None:
    net, preprocessing, class_names = load_run(RUNS / name)
    now, then = probabilities(net, name)
    torch.testing.assert_close(now, then, atol=1e-6, rtol=0)
    assert (preprocessing.image_size, preprocessing.mean, preprocessing.std) == (8, (0.3049,), (0.3755,))
    assert class_names == tuple("0123456789")


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_taken_by_another_net(name: str) -> None:
    about = torch.load(RUNS / name / "checkpoints" / "best.ckpt", weights_only=True)["lightbox"]["model"]
    keys = ("name", "source", "arguments", "num_classes", "in_channels", "image_size")
    net = build_net(**{key: about[key] for key in keys})
    before, _ = probabilities(net, name)
    load_file_into(net, str(RUNS / name / "checkpoints" / "best.ckpt"), class_names=tuple("0123456789"))
    now, then = probabilities(net, name)
    assert not torch.allclose(before, then, atol=1e-3)
    torch.testing.assert_close(now, then, atol=1e-6, rtol=0)


def test_a_new_run_starts_from_its_weights(tmp_path: Path) -> None:
    """With a learning rate of nothing, the new run's test is the old one's."""
    still = ["model=softmax", "optimizer=sgd", "optimizer.lr=1e-30", "scheduler=constant", "trainer.max_epochs=1"]
    same = ["data.per_class=24", "data.forbid=[]", "data.batch_size=32", "callbacks=none", f"paths.runs={tmp_path}"]
    metrics = train([*same, *still, f"model.weights={RUNS / 'softmax'}", "transfer=full"])
    assert metrics["test/accuracy"] == pytest.approx(expected("softmax")["test/accuracy"], abs=1e-6)


def test_the_interrupted_run_ends_as_it_would_have(tmp_path: Path) -> None:
    """Weights, their average, rates and metrics; to the last bit on the machine that made them, else close to it."""
    folder = tmp_path / "digits-mlp" / "interrupted"
    shutil.copytree(RUNS / "interrupted", folder)
    metrics = train([f"resume={folder}", f"paths.runs={tmp_path}"])
    assert metrics["test/accuracy"] == pytest.approx(expected("whole")["test/accuracy"], abs=0.003)  # an image
    ends = (place / "checkpoints" / "last.ckpt" for place in (RUNS / "whole", folder))
    then, now = (torch.load(path, weights_only=True) for path in ends)
    assert not torch.allclose(*(then[key]["net.head.weight"] for key in ("state_dict", "current_model_state")))
    for key in ("state_dict", "current_model_state"):  # the average, and what was averaged
        torch.testing.assert_close(now[key], then[key], atol=1e-5, rtol=0)
    assert (now["epoch"], now["global_step"]) == (then["epoch"], then["global_step"]) == (4, 35)
    one, other = ([group["lr"] for group in end["optimizer_states"][0]["param_groups"]] for end in (then, now))
    assert one == pytest.approx(other, rel=1e-6)
    summaries = (json.loads((place / "summary.json").read_text()) for place in (RUNS / "whole", folder))
    before, after = ({key: each[key] for key in ("best_epoch", "epochs", "steps", "status")} for each in summaries)
    assert before == after
    rows = ((place / "metrics.csv").read_text().splitlines() for place in (RUNS / "whole", folder))
    assert [row.split(",")[:2] for row in next(rows)] == [row.split(",")[:2] for row in next(rows)]
