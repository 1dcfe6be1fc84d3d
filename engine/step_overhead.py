"""What Lightning does for nobody in each training step, spared; nothing that anybody could notice changes.

Lightning's bookkeeping is Python, and each step of the net empties the processor's caches of it, so what takes 5 us in
a loop takes 10 to 20 in a run. Each function says what it spares; `python -m benchmarks.fit` and
`python -m benchmarks.loop_overhead` measure the sum.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""Those of a training step."""


def keep_steps_lean(trainer: Trainer, task: LightningModule) -> None:
    """All of it, for a fit that is about to begin; callbacks, data module and task are complete."""
    skip_empty_hooks(trainer, task)
    skip_stop_messages(trainer)
    skip_profiling_by_nobody(trainer)
    skip_clipping_by_nothing(trainer, task)
    inspect_once(trainer, task)


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


def skip_profiling_by_nobody(trainer: Trainer) -> None:
    """Open one context that does nothing around each call, thirty a step, in place of a generator each.

    Only where no profiler was asked for.
    """
    profiler: Any = trainer.profiler  # type: ignore[attr-defined]
    if type(profiler) is PassThroughProfiler:
        nothing = nullcontext()
        profiler.profile = lambda action_name: nothing  # type: ignore[method-assign, assignment, return-value]


def skip_clipping_by_nothing(trainer: Trainer, task: LightningModule) -> None:
    """Pass over the hook that clips gradients while nothing is to be clipped, and the task has not written it."""
    if type(task).configure_gradient_clipping is not LightningModule.configure_gradient_clipping:
        return
    plugin: Any = trainer.precision_plugin
    clip: Callable[..., None] = plugin._clip_gradients

    def unless_nothing(model: Any, optimizer: Any, clip_val: float | None = None, **how: Any) -> None:
        if clip_val:
            clip(model, optimizer, clip_val, **how)

    plugin._clip_gradients = unless_nothing


def inspect_once(trainer: Trainer, task: LightningModule) -> None:
    """Ask once, not in each step, whether `training_step` takes the number of its batch."""
    takes_number = is_param_in_hook_signature(task.training_step, "batch_idx", min_args=2)

    def arguments(kwargs: Any, batch: Any, batch_idx: int) -> Any:
        kwargs["batch"] = batch
        if takes_number:
            kwargs["batch_idx"] = batch_idx
        return kwargs

    trainer.fit_loop.epoch_loop._build_kwargs = arguments  # type: ignore[method-assign]
