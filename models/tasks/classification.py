"""Image classification: one label an image, softmax over K classes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassStatScores

from models.analysis.activation_map import class_activation_maps, spatial_module
from models.freezing import Freezing
from models.losses.cross_entropy import cross_entropy as classification_loss
from models.optim import Schedule, build_optimizer
from models.penalties import l1_penalty, l2_penalty
from models.transfer import TransferPlan
from settings.errors import UserError

METRICS = ("accuracy", "accuracy_macro", "f1_macro", "loss")
"""What validation and test report, as `val/<name>` and `test/<name>`; training reports `accuracy` and `loss`."""


class Classification(LightningModule):
    """Train and score a net that maps images (B, C, H, W) to logits (B, K).

    Sums are kept on the device and read once an epoch, so that a training step never waits for the host.

    Attributes:
        needs_unused_parameters: whether a step of a run in several processes may leave parameters without a gradient
            (frozen ones). Read when the trainer is made; they have to be trainable then, and frozen afterwards, or
            the processes drift apart.

    Args:
        net: the architecture, with a head of `len(class_names)` outputs.
        class_names: names of the K classes, in the order of the logits.
        optimizer: `name`, `lr`, `weight_decay` and the optimiser's own arguments.
        scheduler: `name`, `warmup_epochs`, `restart` and the schedule's own arguments.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        class_weights: weight of an image of each class in the training loss; scores count all images alike.
        auxiliary_weight: weight of the loss of each auxiliary head, for nets that give (logits, auxiliary logits, ...)
            in training (Szegedy et al. 2015, arxiv.org/abs/1409.4842); `train/loss` is that of the main head.
        l1: weight of the sum of absolute weights, norms and biases left out; with `l2` an elastic net.
        l2: weight of half the sum of squared weights, norms and biases left out.
        monitor: metric that reduce-on-plateau watches.
        monitor_mode: `max` or `min`.
        channels_last: keep images and weights in NHWC memory order.
        plan: which stages train in which epoch, at which share of the learning rate; without one all train alike.
        card: plain values that make a checkpoint stand alone, stored under its key `lightbox`.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        class_names: Sequence[str],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any],
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        auxiliary_weight: float = 0.3,
        l1: float = 0.0,
        l2: float = 0.0,
        monitor: str = "val/accuracy",
        monitor_mode: str = "max",
        channels_last: bool = False,
        plan: TransferPlan | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        known = [f"val/{name}" for name in METRICS] + ["train/accuracy", "train/loss"]
        if monitor not in known:
            raise ValueError(f"monitor={monitor!r} is not recorded; choose one of {', '.join(known)}")
        self.class_names = tuple(class_names)
        self.class_weights: Tensor | None
        self.freezing = Freezing(net, plan)
        self.needs_unused_parameters = self.freezing.plan.freezes
        self.net = net.to(memory_format=torch.channels_last) if channels_last else net
        self.optimizer, self.scheduler = dict(optimizer), dict(scheduler)
        self.label_smoothing, self.auxiliary_weight, self.l1, self.l2 = label_smoothing, auxiliary_weight, l1, l2
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)  # the configuration has them
        self.monitor, self.monitor_mode = monitor, monitor_mode
        self.channels_last = channels_last
        self.card = dict(card or {})
        self.looks_at: str | None = None
        """Name of the module in the net whose output `attention` reads."""
        self.features_into: str | None = None
        """Name of the net's head while batches hold what a frozen body hands to it, in place of images."""
        self.scores = {
            split: MulticlassStatScores(len(class_names), average=None, ignore_index=-1, validate_args=False)
            for split in ("val", "test")
        }
        self.sums: dict[str, Tensor] = {}
        self.figures: dict[str, float] = {}
        """The epoch's newest value of each metric, in double precision (Lightning's own copy is single).

        There is no `val/...` in an epoch without validation.
        """
        self.schedule: Schedule | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """As modules do, which takes long; Lightning notes here which hook runs, forty times a step."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def keep_channels_last(self, channels_last: bool) -> None:
        """Keep images and weights in NHWC memory order from now on, or in NCHW; not a number changes."""
        if channels_last != self.channels_last:
            self.net.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.channels_last = channels_last

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, C, H, W); in training perhaps a tuple with auxiliary logits behind.

        While `features_into` is set, of what that module is given.
        """
        images = images.to(next(self.net.parameters()).dtype)  # the weights' own where `trainer.precision` is bf16-true
        if self.features_into is not None:
            return self.net.get_submodule(self.features_into)(images)
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.net(images)

    def find_feature_map(self, images: Tensor) -> None:
        """Find what `attention` reads, with any images (B, C, S, S) as the net takes them.

        Raises:
            UserError: the net has no feature map.
        """
        name = self.card.get("model", {}).get("name", type(self.net).__name__)
        self.looks_at = spatial_module(self.net, images, name=name)

    def attention(self, images: Tensor, targets: Tensor) -> Tensor:
        """How much each place of normalised images (B, C, H, W) speaks for their targets: float (B, h, w)."""
        assert self.looks_at is not None, "find_feature_map comes first"
        precision = self.trainer.precision_plugin
        with precision.forward_context():
            images = precision.convert_input(images)
            return class_activation_maps(self, f"net.{self.looks_at}", images, targets)

    def train(self, mode: bool = True) -> Self:
        """Switch modes as ever, except that frozen modules stay in evaluation mode."""
        super().train(mode)
        self.freezing.hold()
        return self

    def on_train_start(self) -> None:
        """Freeze for the epoch that begins, or is gone on with: then it has no other start."""
        self.sums = {split: sums.to(self.device) for split, sums in self.sums.items()}  # of a checkpoint: from the CPU
        self.freezing.start_epoch(self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums and figures; an epoch that is gone on with keeps those of its checkpoint."""
        self.freezing.start_epoch(self.current_epoch)
        self.figures.clear()
        self._start("train")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch; targets are class indices (B,) or, after mixing, shares (B, K)."""
        images, targets = batch
        output = self(images)
        logits, *auxiliary = output if isinstance(output, tuple) else (output,)
        loss = self._loss(logits, targets)
        labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
        with torch.no_grad():
            count = labels.numel()
            correct = (logits.argmax(dim=1) == labels).sum()
            self._add("train", loss.detach() * count, correct, count)
        for other in auxiliary:
            loss = loss + self.auxiliary_weight * self._loss(other, targets)
        if self.l1:
            loss = loss + self.l1 * l1_penalty(self.net)
        if self.l2:
            loss = loss + self.l2 * l2_penalty(self.net)
        return loss

    def on_train_epoch_end(self) -> None:
        """Report the epoch's means, then let reduce-on-plateau see the monitored metric."""
        loss, correct, count = self._totals("train")
        self._report({"train/loss": loss / count, "train/accuracy": correct / count})
        assert self.schedule is not None
        if self.scheduler["name"] == "plateau" and self.monitor in self.figures:
            self.schedule.observe(self.figures[self.monitor])

    def on_validation_epoch_start(self) -> None:
        """Start this pass over the validation images at zero."""
        self._start("val")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add one batch to the sums of the pass."""
        self._score("val", *batch)

    def on_validation_epoch_end(self) -> None:
        """Report the pass."""
        if not self.trainer.sanity_checking:
            self._report(self._metrics("val"))

    def on_test_epoch_start(self) -> None:
        """Start this pass over the test images at zero."""
        self._start("test")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Add one batch to the sums of the pass; its logits (B, K) go to the callbacks."""
        return self._score("test", *batch)

    def on_test_epoch_end(self) -> None:
        """Hand the figures to the caller of `trainer.test`; the run records them with the right step."""
        self.figures.update(self._metrics("test"))

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Probabilities (B, K)."""
        return self(batch[0]).float().softmax(dim=1)

    def configure_optimizers(self) -> Any:
        """One optimiser, and one schedule that is stepped after each of its steps."""
        own = dict(self.optimizer)
        groups = self.freezing.groups(lr=own.pop("lr"), weight_decay=own.pop("weight_decay"))
        # Lightning cannot clip the gradients of a fused optimiser that also unscales them.
        unscales = self.trainer.precision == "16-mixed" and self.trainer.gradient_clip_val
        optimizer = build_optimizer(groups, fused=False if unscales else None, **own)
        steps = self._steps_per_epoch()
        total = steps * (self.trainer.max_epochs or 1)
        if self.trainer.max_steps > 0:
            total = min(total, self.trainer.max_steps)
        own = {key: value for key, value in self.scheduler.items() if key != "restart"}
        self.schedule = Schedule(optimizer, total_steps=total, steps_per_epoch=steps, mode=self.monitor_mode, **own)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule, "interval": "step"}}

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Forget the gradients as torch does, without its mark for a profiler, which takes longer."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes the file stand alone, and what an open epoch has found: figures, and sums, a row a process."""
        checkpoint["lightbox"] = self.card
        checkpoint["figures"] = dict(self.figures)
        checkpoint["train_sums"] = None
        if "train" in self.sums:
            rows = [self.sums["train"]]
            if self.trainer.world_size > 1:
                rows = [torch.empty_like(rows[0]) for _ in range(self.trainer.world_size)]
                torch.distributed.all_gather(rows, self.sums["train"])
            checkpoint["train_sums"] = torch.stack(rows).cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up figures and sums of an epoch that was interrupted, as this process left them.

        Raises:
            UserError: the optimiser's state is of parameter groups that this transfer mode does not have.
        """
        self._refuse_other_groups(checkpoint)
        self.figures = dict(checkpoint.get("figures", {}))
        rows = checkpoint.get("train_sums")
        if rows is None:
            return
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self._trainer else (0, 1)
        rows = rows.view(-1, 3)
        if len(rows) == world:
            self.sums["train"] = rows[rank].clone()
        else:  # it goes on in another number of processes
            self.sums["train"] = rows.sum(dim=0) * (rank == 0)

    def _refuse_other_groups(self, checkpoint: dict[str, Any]) -> None:
        own = [group["name"] for group in self.freezing.groups(lr=1.0, weight_decay=0.0)]
        for state in checkpoint.get("optimizer_states", []):
            stored = [group["name"] for group in state["param_groups"]]
            if stored != own:
                raise UserError(
                    f"transfer={self.freezing.plan.mode} has parameter groups {', '.join(own)}; the checkpoint has "
                    f"{', '.join(stored)}: start a new run from its weights with model.weights=RUN"
                )

    def _steps_per_epoch(self) -> int:
        # Not `trainer.estimated_stepping_batches`: it starts the loader before a resume has set its position.
        batches = len(self.trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
        limit = self.trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * (limit or 1.0))
        return max(1, math.ceil(batches / self.trainer.accumulate_grad_batches))

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return classification_loss(
            logits,
            targets,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            ignore_index=-1,
        )

    def _start(self, split: str) -> None:
        # float64 keeps counts exact and losses equal between batch sizes; Apple's GPUs only have float32.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.sums[split] = torch.zeros(3, dtype=dtype, device=self.device)
        if split in self.scores:
            self.scores[split].to(self.device).reset()

    def _add(self, split: str, loss_sum: Tensor, correct: Tensor, count: Tensor | int) -> None:
        sums = self.sums[split]
        if sums.device != loss_sum.device:  # after a resume the sums come from the file
            sums = self.sums[split] = sums.to(loss_sum.device)
        counted = count.to(sums.dtype) if isinstance(count, Tensor) else sums.new_tensor(count)
        sums += torch.stack((loss_sum.to(sums.dtype), correct.to(sums.dtype), counted))

    def _score(self, split: str, images: Tensor, targets: Tensor) -> Tensor:
        logits = self._of_views(images) if images.ndim == 5 else self(images).float()
        losses = cross_entropy(logits, targets, reduction="none", ignore_index=-1)
        labels = logits.argmax(dim=1)
        self.scores[split].update(labels, targets)
        sums = self.sums[split]
        # Padding counts nowhere: no loss, never right, no image.
        self._add(split, losses.to(sums.dtype).sum(), (labels == targets).sum(), (targets != -1).sum())
        return logits

    def _of_views(self, views: Tensor) -> Tensor:
        """Logits (B, K) of the mean probabilities over views (B, V, C, H, W): the logarithms of these."""
        found = [self(view).float().log_softmax(dim=1) for view in views.unbind(dim=1)]
        return torch.stack(found).logsumexp(dim=0) - math.log(len(found))

    def _totals(self, split: str) -> tuple[float, float, float]:
        sums = self.sums[split]
        if self.trainer.world_size > 1:
            sums = self.trainer.strategy.reduce(sums.clone(), reduce_op="sum")  # type: ignore[assignment]
        loss, correct, count = sums.tolist()
        return loss, correct, count

    def _metrics(self, split: str) -> dict[str, float]:
        """Micro accuracy, macro accuracy (mean recall) and macro F1 over the classes that occur, mean loss."""
        loss, correct, count = self._totals(split)
        if not count:
            raise UserError(f"{split}: none of its images could be read")
        hit, false_alarm, _, missed, support = self.scores[split].compute().double().unbind(dim=1)
        seen = support > 0
        f1 = 2 * hit / (2 * hit + false_alarm + missed).clamp_min(1)
        return {
            f"{split}/accuracy": correct / count,
            f"{split}/accuracy_macro": (hit[seen] / support[seen]).mean().item(),
            f"{split}/f1_macro": f1[seen].mean().item(),
            f"{split}/loss": loss / count,
        }

    def _report(self, metrics: dict[str, float]) -> None:
        """Send figures to the loggers now, so that they are on disk before the checkpoint of the same moment."""
        self.figures.update(metrics)
        self.log_dict(metrics, logger=False)
        for logger in self.trainer.loggers:
            step = self.trainer.global_step
            logger.log_metrics({"epoch": float(self.trainer.current_epoch), **metrics}, step=step)
