"""What nobody has written is passed over; what somebody has written is not; and not a number changes."""

from types import SimpleNamespace

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import SimpleProfiler

from callbacks.finite import FiniteCheck
from callbacks.throughput import Throughput
from engine import test_best as outcome
from engine.resume import Start
from engine.step_overhead import (
    HOOKS,
    inspect_once,
    skip_clipping_by_nothing,
    skip_empty_hooks,
    skip_profiling_by_nobody,
)
from models.tasks.classification import Classification
from train import train


class Written(Callback):
    def on_after_backward(self, trainer, pl_module):
        """Written by a user."""


class OwnTask(LightningModule):
    def on_before_zero_grad(self, optimizer):
        """Written by a user."""


def kept(owner) -> set[str]:
    return {hook for hook in HOOKS if callable(getattr(owner, hook))}


def test_only_written_hooks_are_left():
    callbacks = [Throughput(), FiniteCheck(every_n_steps=5), Written()]
    assert all(kept(one) == set(HOOKS) for one in callbacks)
    trainer = Trainer(callbacks=callbacks, logger=False, enable_checkpointing=False, barebones=False)
    task = OwnTask()
    for _ in range(2):  # a second fit of the same objects
        skip_empty_hooks(trainer, task)
        assert kept(callbacks[0]) == kept(callbacks[1]) == {"on_train_batch_start", "on_train_batch_end"}
        assert kept(callbacks[2]) == {"on_after_backward"}
        assert kept(task) == {"on_before_zero_grad"}


def small_trainer(**arguments) -> Trainer:
    return Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", **arguments)


def test_nobody_is_told_of_a_stop_before_each_step(monkeypatch):
    """Lightning's way sends one message a step and takes an error in it for silence."""
    sent = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_, **__: sent.append(1))
    trainer = small_trainer()
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
    assert sent == [1], "what is spared has another name now"
    trainer.fit = lambda *_, **__: trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
    outcome.fit(SimpleNamespace(trainer=trainer), LightningModule(), None, Start())
    assert sent == [1]


def test_a_profiler_that_was_asked_for_sees_everything():
    for profiler in (None, SimpleProfiler()):
        trainer = small_trainer(profiler=profiler)
        skip_profiling_by_nobody(trainer)
        with trainer.profiler.profile("step"), trainer.profiler.profile("within"):
            pass
        assert ("profile" in vars(trainer.profiler)) == (profiler is None)
    assert set(profiler.recorded_durations) == {"step", "within"}


class Clips(LightningModule):
    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        """Written by a user."""


@pytest.mark.parametrize(("task", "clip_val", "called"), [("plain", None, 0), ("plain", 0.5, 1), ("own", None, 1)])
def test_clipping_is_passed_over_only_where_it_does_nothing(task, clip_val, called, monkeypatch):
    trainer, calls = small_trainer(), []
    monkeypatch.setattr(type(trainer.precision_plugin), "_clip_gradients", lambda self, *_, **__: calls.append(1))
    skip_clipping_by_nothing(trainer, Clips() if task == "own" else LightningModule())
    trainer.precision_plugin._clip_gradients(None, None, clip_val, gradient_clip_algorithm="norm")
    assert len(calls) == called


class TakesBatchAlone(LightningModule):
    def training_step(self, batch):
        """Written by a user."""


@pytest.mark.parametrize(("task", "expected"), [(TakesBatchAlone, ["batch"]), (Classification, ["batch", "batch_idx"])])
def test_a_training_step_gets_what_it_asks_for(task, expected):
    trainer = small_trainer()
    inspect_once(trainer, SimpleNamespace(training_step=task.training_step.__get__(object())))
    assert list(trainer.fit_loop.epoch_loop._build_kwargs({}, "images", 3)) == expected


@pytest.mark.parametrize("more", [[], ["trainer.gradient_clip_val=0.01", "trainer.accumulate_grad_batches=2"]])
def test_not_a_number_changes(more, tmp_path, monkeypatch):
    short = ["data.per_class=16", "data.batch_size=32", "trainer.max_epochs=2", "test=false", "callbacks.report=null"]
    short += ["model=cnn", "model.widths=[4,8]"]
    found = []
    for name in ("lean", "as_lightning_does"):
        train([*short, *more, f"paths.runs={tmp_path}", f"name={name}"])
        stored = torch.load(next(tmp_path.glob(f"*/{name}/checkpoints/last.ckpt")), weights_only=True)
        figures = next(tmp_path.glob(f"*/{name}/metrics.csv")).read_text(encoding="utf-8")
        found.append((stored["state_dict"], stored["optimizer_states"], figures))
        monkeypatch.setattr(outcome, "keep_steps_lean", lambda trainer, task: None)
        monkeypatch.setattr(Classification, "optimizer_zero_grad", LightningModule.optimizer_zero_grad)
    (lean, lean_states, lean_figures), (plain, plain_states, plain_figures) = found
    assert all(torch.equal(weight, plain[name]) for name, weight in lean.items())
    assert str(lean_states) == str(plain_states) and lean_figures == plain_figures
