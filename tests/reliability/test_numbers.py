"""NaN and infinity in images, loss and weights: exit 5, the step and the first bad tensor named, nothing bad saved."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from callbacks.checkpoint import AtomicCheckpointIO
from callbacks.finite import FOLD, FiniteCheck, NumericError
from datamodules.base import ImageDataModule
from engine.trainer import refusing
from models.tasks.classification import Classification
from settings.commands.launch import launch
from settings.errors import UserError
from settings.schema.run_config import Trainer
from train import run, train

SMALL = ["data.per_class=24", "data.batch_size=32", "model=cnn", "model.widths=[6,6]", "trainer.max_epochs=3"]
SMALL += ["callbacks=none", "test=false", "optimizer=sgd", "optimizer.lr=0.01", "scheduler=constant"]
STEPS = 7  # 240 images in batches of 32


@pytest.fixture
def seen(monkeypatch):
    """Count training batches, and let a test spoil one of them: seen.images, seen.loss, seen.gradient."""
    hooks = SimpleNamespace(batches=0, images=None, loss=None, gradient=None)
    step, moved = Classification.training_step, ImageDataModule.on_after_batch_transfer

    def training_step(self, batch, batch_idx):
        hooks.batches += 1
        loss = step(self, batch, batch_idx)
        if hooks.batches == hooks.gradient:
            weight = self.net.get_parameter(hooks.weight)
            handle = weight.register_hook(lambda grad: (handle.remove(), grad.clone().fill_(torch.inf))[1])
        return loss * float("inf") if hooks.batches == hooks.loss else loss

    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, targets = moved(self, batch, dataloader_idx)
        if self.trainer is not None and self.trainer.training and hooks.batches + 1 == hooks.images:
            images = images.clone()
            images[3, 0, 2, 2] = torch.nan
        return images, targets

    monkeypatch.setattr(Classification, "training_step", training_step)
    monkeypatch.setattr(ImageDataModule, "on_after_batch_transfer", on_after_batch_transfer)
    return hooks


def assert_all_saved_is_finite(runs, at_least):
    files = sorted(runs.glob("*/*/checkpoints/*"))
    assert len(files) >= at_least and all(file.suffix == ".ckpt" for file in files), "and no temporary file is left"
    for file in files:
        stored = torch.load(file, weights_only=True)
        for state in stored["optimizer_states"][0]["state"].values():
            assert all(one.isfinite().all() for one in state.values() if one is not None)
        assert all(weight.isfinite().all() for weight in stored["state_dict"].values())


SPOILT = {
    "images": ("the images", 2 * STEPS, []),
    "loss": ("the training loss", 2 * STEPS, []),
    "gradient": ("net.{weight}", 2 * STEPS, []),
    "gradient, looked for often": ("net.{weight}", 12, ["callbacks.finite.every_n_steps=4"]),
    "images, before every save": ("the images", 10, ["callbacks.checkpoint.every_n_steps=1"]),
    "gradient, averaged weights": ("net.{weight}", 2 * STEPS, ["callbacks.ema.decay=0.5"]),
    "loss, accumulation": ("the training loss", 10, ["trainer.accumulate_grad_batches=2", "data.batch_size=48"]),
}
"""What is spoilt in the tenth batch -> what is named, the batch at which the run ends, what is set."""


LONG = ("images", "loss", "gradient")
"""Cases of which the default suite runs a variant."""


@pytest.mark.parametrize("case", [pytest.param(one, marks=[pytest.mark.slow] if one in LONG else []) for one in SPOILT])
def test_the_step_and_the_first_bad_tensor_are_named(case, tmp_path, seen, capsys):
    name, stopped_at, more = SPOILT[case]
    from engine.data_and_task import build_data, build_task
    from settings.reading.compose import compose

    config = compose(SMALL)
    seen.weight = [key for key, _ in build_task(config, *build_data(config)).net.named_parameters()][4]
    setattr(seen, case.partition(",")[0], 10)
    assert launch(run, [*SMALL, *more, f"paths.runs={tmp_path}", "name=bad"]) == 5
    step = 5 if "accumulation" in case else 10
    said = capsys.readouterr().err.strip()
    assert f"{name.format(weight=seen.weight)} became NaN or infinite in step {step}" in said
    assert len(said.splitlines()) == 1 and seen.batches == stopped_at
    summary = json.loads(next(tmp_path.glob("*/bad/summary.json")).read_text())
    assert (summary["status"], summary["exit_code"]) == ("failed", 5) and f"in step {step}" in summary["reason"]
    assert_all_saved_is_finite(tmp_path, at_least=0 if "accumulation" in case else 2)


def test_a_learning_rate_that_is_far_too_high_ends_in_its_first_epoch(tmp_path):
    with pytest.raises(NumericError, match=r"net\.\S+ became NaN or infinite in step \d"):
        train([*SMALL, "optimizer.lr=1e30", f"paths.runs={tmp_path}"])
    assert_all_saved_is_finite(tmp_path, at_least=0)


def check_of(weights, device="cpu"):
    check = FiniteCheck(every_n_steps=50)
    task = nn.Module()
    task.weights = nn.ParameterList([nn.Parameter(weight.to(device)) for weight in weights])
    task.device = torch.device(device)
    check.on_train_start(None, task)
    return check, task


def test_no_step_waits_for_the_device():
    """Tensors without values cannot be read; a step passes, and the look at the end does not."""
    check, task = check_of([torch.zeros(2, 3), torch.zeros(4).bfloat16()], device="meta")
    batch = (torch.zeros(2, 1, 4, 4, device="meta"), torch.zeros(2, device="meta"))
    trainer = SimpleNamespace(global_step=1)
    check.on_train_batch_start(trainer, task, batch, 0)
    check.on_train_batch_end(trainer, task, {"loss": torch.zeros((), device="meta")}, batch, 0)
    with pytest.raises(NotImplementedError, match="meta"):
        check.read()


@pytest.mark.parametrize(("value", "bad"), [(1e30, False), (3e38, False), (torch.nan, True), (-torch.inf, True)])
def test_large_is_not_infinite(value, bad):
    check, task = check_of([torch.zeros(3), torch.full((1000,), value)])
    batch = (torch.zeros(2, 1, 4, 4), torch.zeros(2))
    for step in (1, 2):
        check.on_train_batch_start(None, task, batch, 0)
        check.on_train_batch_end(SimpleNamespace(global_step=step), task, {"loss": torch.tensor(1.0)}, batch, 0)
    if bad:
        with pytest.raises(NumericError, match=r"weights\.1 became NaN or infinite in step 1; "):
            check.read()
    else:
        check.read()


def test_norms_are_not_kept_for_ever_and_the_first_bad_step_is():
    """However seldom somebody looks, and whatever came after."""
    check, task = check_of([torch.zeros(3)])
    check._every = 10_000
    batch = (torch.zeros(2, 1, 4, 4), torch.zeros(2))
    for step in range(1, 201):
        loss = torch.tensor(torch.nan if step in (70, 71, 199) else 1.0)
        check.on_train_batch_start(None, task, batch, 0)
        check.on_train_batch_end(SimpleNamespace(global_step=step), task, {"loss": loss}, batch, 0)
        assert len(check._norms) == len(check._steps) < FOLD
    for _ in range(2):  # it stays bad for whoever asks next
        with pytest.raises(NumericError, match="the training loss became NaN or infinite in step 70; "):
            check.read()


@pytest.mark.parametrize("part", ["state_dict", "current_model_state", "optimizer_states"])
def test_no_file_is_written_that_is_not_finite(part, tmp_path):
    good = {"global_step": 3, "state_dict": {"w": torch.ones(3)}, "best": torch.tensor(torch.inf)}
    AtomicCheckpointIO().save_checkpoint(good, tmp_path / "last.ckpt")
    before = (tmp_path / "last.ckpt").read_bytes()
    bad = {**good, part: [{"state": {0: {"momentum": torch.tensor([1.0, torch.nan])}}}]}
    with pytest.raises(NumericError, match=rf"{part}\.0\.state\.0\.momentum is NaN or infinite in step 3"):
        AtomicCheckpointIO().save_checkpoint(bad, tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.limit_train_batches=0.01", r"limit_train_batches=0.01: of 7 batches \(240 train images\)"),
        ("trainer.limit_val_batches=0.01", r"limit_val_batches=0.01: of \d batches \(145 val images\)"),
        ("trainer.limit_test_batches=0.01", r"limit_test_batches=0.01: of \d+ batches \(359 test images\)"),
        ("trainer.val_check_interval=8", r"val_check_interval=8: an epoch has 7 training batches.*at most 7"),
        ("data.val_fraction=1e-9", r"no image is left for val \(train 240, val 0, test 359"),
    ],
)
def test_a_run_of_nothing_is_refused_with_counts(override, said, tmp_path):
    with pytest.raises(UserError, match=said):
        train([*SMALL, "test=true", override, f"paths.runs={tmp_path}"])
    assert not list(tmp_path.glob("*/*/checkpoints/*"))


def test_a_tenth_of_the_default_data_is_a_batch_at_least(tmp_path):
    """`debug=limit` is for any data: three batches of validation, six of test."""
    metrics = train(["model=softmax", "debug=limit", "callbacks=none", f"paths.runs={tmp_path}"])
    assert {"val/accuracy", "test/accuracy"} <= metrics.keys()
    (summary,) = tmp_path.glob("*/*/summary.json")
    assert json.loads(summary.read_text())["steps"] == 2 * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"gradient_clip_algorithm": "norn"}, "trainer.gradient_clip_algorithm=norn: Lightning refuses it: "),
        ({"max_time": "soon"}, "trainer.max_time=soon: Lightning refuses it: "),
    ],
)
def test_what_lightning_refuses_is_a_mistake_with_its_key(arguments, said):
    said_here = {**Trainer().lightning_arguments(), **arguments}
    with pytest.raises(UserError) as caught:
        refusing(said_here, **said_here)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_a_run_whose_epochs_are_reached_is_refused_with_counts(tmp_path):
    words = [*SMALL, f"paths.runs={tmp_path}", "name=done", "trainer.max_epochs=1"]
    train(words)
    with pytest.raises(UserError, match=r"epoch 1 of 1; nothing is left to train"):
        train([*words, "resume=auto"])
