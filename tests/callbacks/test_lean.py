"""Hooks that nobody has written are passed over; those that somebody has written are not."""

from lightning import Callback, LightningModule, Trainer

from callbacks.finite import FiniteCheck
from callbacks.lean import HOOKS, skip_empty_hooks
from callbacks.throughput import Throughput


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
