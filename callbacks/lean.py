"""What Lightning does for nobody in each training step, spared: empty hooks, and a message among processes."""

from lightning import Callback, LightningModule, Trainer

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""Those of a training step."""


def skip_empty_hooks(trainer: Trainer, task: LightningModule) -> None:
    """Have the trainer pass over the hooks of a step that neither a callback's class nor the task's has written.

    With ten callbacks that is some fifty calls a step, each with its name put together for a profiler that records
    nothing: 0.15 of 1.4 ms (`python -m benchmarks.loop_overhead`). Lightning calls what is callable, so not None.
    """
    for owner, base in [*((one, Callback) for one in trainer.callbacks), (task, LightningModule)]:  # type: ignore[attr-defined]
        for hook in HOOKS:
            if getattr(type(owner), hook) is getattr(base, hook) and hook not in vars(owner):
                setattr(owner, hook, None)


def skip_stop_messages(trainer: Trainer) -> None:
    """Have the processes of a run no longer tell each other before each step whether process 0 got SIGTERM.

    `HoldSignals` does so once a step for all signals. And Lightning takes any exception there for "no": that of a
    killed data worker, say, after which the processes wait for each other in different exchanges.
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
