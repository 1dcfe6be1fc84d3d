"""What every task shares: freezing, optimiser, schedule, metrics exact over processes and resumes, checkpoints.

A task is one file in this folder with one class, named as the file (`multilabel.py`: `Multilabel`). The class
attributes below are literals: the configuration reads them from source, without importing torch. The smallest task:

    class Regression(Task):
        metrics = {"mean_absolute_error": "min", "loss": "min"}
        head = 1

        def loss(self, outputs, batch):
            return mse_loss(outputs[:, 0], batch[1].float())

        def counted(self, outputs, batch):
            real = self.real(batch[1])
            error = (outputs[:, 0] - batch[1])[real].abs()
            return {"mean_absolute_error": error.sum(), "loss": (error**2).sum(), "count": real.sum()}
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, final

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric

from models.activations import activation
from models.analysis.activation_map import class_activation_maps, spatial_module
from models.analysis.class_scores import ClassCounts
from models.averaged import averaged_outputs
from models.checkpoint import CARD
from models.freezing import Freezing
from models.losses import build_loss
from models.metrics import build_metrics, gathered_value, update_metrics
from models.optim import Schedule, build_optimizer
from models.penalties import l1_penalty, l2_penalty
from models.transfer import TransferPlan
from settings.errors import UserError

Batch = tuple[Tensor, Any]


class Task(LightningModule):
    """Train and score a net on one kind of target.

    Sums are kept on the device and read once an epoch, so that a training step never waits for the host.

    Class attributes:
        targets: what it learns from: `labels` (B,), `multilabels` (B, K), `masks` (B, H, W), `boxes` or `images`.
        metrics: what validation and test report, as `val/<name>` and `test/<name>` -> whether `max` or `min` is
            best; the first is the default monitor.
        in_training: those of them that training reports.
        output: what it wants of a net, as nets say it in `output`: `logits` (B, K), `dense` (B, K, H, W), ...
        defaults: group -> choice where command line and experiment name none, such as `{"model": "unet_small"}`.
        library: which of torchmetrics' classes score it by name: `Multiclass`, `Multilabel`, or none.
        from_library: those of `metrics` that a class of torchmetrics computes -> its name.
        head: outputs of the net; None is one a class.
        trains: arguments of a net that it needs and no other task trains, such as `decoder`.
        padding: target of an image that only fills up a batch; it counts nowhere.
        predicts: what a prediction is: a `class` an image, a set of `labels`, a `mask` or a `number`.
        activation: what makes probabilities, or numbers, of the net's outputs: a file of `models/activations/`.
        views: which views of a test image it can average (`data.test_views`, and `views` of evaluate.py).
        calibrates: whether `calibration` is asked after each validation.

    Attributes:
        epoch_metrics: the epoch's newest value of each metric, in double precision (Lightning's own copy is single);
            there is no `val/...` in an epoch without validation.
        needs_unused_parameters: whether a step of a run in several processes may leave parameters without a gradient
            (frozen ones). Read when the trainer is made; they have to be trainable then, and frozen afterwards, or
            the processes drift apart.

    Args:
        net: the architecture, with a head for `class_names`.
        class_names: names of the K classes, in the order of the outputs.
        optimizer: `name`, `lr`, `weight_decay` and the optimiser's own arguments.
        scheduler: `name`, `warmup_epochs`, `restart` and the schedule's own arguments.
        loss: `name` and arguments of the loss, `class_weights` (numbers), weighted `terms`, `auxiliary_weight`, and
            the weights `l1` and `l2` of penalties on the weights, norms and biases left out.
        metrics: library metrics beside the task's own, name -> arguments.
        monitor: metric that reduce-on-plateau watches; None is the task's first.
        monitor_mode: `max` or `min`; None is the metric's own.
        channels_last: keep images and weights in NHWC memory order.
        plan: which stages train in which epoch, at which share of the learning rate; without one all train alike.
        card: plain values that make a checkpoint stand alone, stored under its key `lightbox`.
    """

    targets: ClassVar[str] = "labels"
    metrics: ClassVar[dict[str, str]] = {"loss": "min"}
    in_training: ClassVar[tuple[str, ...]] = ("loss",)
    output: ClassVar[str] = "logits"
    defaults: ClassVar[dict[str, str]] = {}
    library: ClassVar[str] = ""
    from_library: ClassVar[dict[str, str]] = {}
    head: ClassVar[int | None] = None
    trains: ClassVar[tuple[str, ...]] = ()
    padding: ClassVar[int] = -1
    predicts: ClassVar[str] = ""
    activation: ClassVar[str] = "softmax"
    views: ClassVar[tuple[str, ...]] = ("centre",)
    calibrates: ClassVar[bool] = False
    counts_of: ClassVar[str] = "images"
    """What `decisions` or `confusion` count."""
    shown_as: ClassVar[str] = "what is true, then what the net says"
    """How an image on a page is to be read."""

    def __init__(
        self,
        *,
        net: nn.Module,
        class_names: Sequence[str],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any],
        loss: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Mapping[str, Any]] | None = None,
        monitor: str | None = None,
        monitor_mode: str | None = None,
        channels_last: bool = False,
        plan: TransferPlan | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        self.class_weights: Tensor | None
        self.freezing = Freezing(net, plan)
        self.needs_unused_parameters = self.freezing.plan.freezes
        self.net = net.to(memory_format=torch.channels_last) if channels_last else net
        self.optimizer, self.scheduler = dict(optimizer), dict(scheduler)
        given = dict(loss or {})
        self.l1, self.l2 = given.pop("l1", 0.0), given.pop("l2", 0.0)
        self.auxiliary_weight = given.pop("auxiliary_weight", 0.3)
        weights = given.pop("class_weights", None)
        weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)  # the configuration has them
        self.criterion = build_loss(given, ignore_index=self.padding)
        self.monitor = monitor or f"val/{next(iter(self.metrics))}"
        self.monitor_mode = monitor_mode or self.metrics.get(self.monitor.partition("/")[2], "max")
        self.channels_last = channels_last
        self.card = dict(card or {})
        self.looks_at: str | None = None
        """Name of the module in the net whose output `attention` reads."""
        self.features_into: str | None = None
        """Name of the net's head while batches hold what a frozen body hands to it, in place of images."""
        self.sums: dict[str, dict[str, Tensor]] = {}
        """Split -> what its batches have added up to so far, in this process."""
        self.library_metrics = {split: self._from_library(metrics or {}) for split in ("val", "test")}
        self._validated: list[tuple[Tensor, Tensor]] = []
        self.epoch_metrics: dict[str, float] = {}
        self.schedule: Schedule | None = None

    # What a task says.

    def outputs(self, batch: Batch) -> Any:
        """What the net makes of the images of a batch."""
        return self(batch[0])

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar: reported as `train/loss`."""
        return self.criterion(outputs, batch[1], class_weights=self.class_weights)

    def extra_loss(self, outputs: Any, batch: Batch) -> Tensor | None:
        """What is minimised beside the loss and not reported: auxiliary heads, penalties on gradients, ..."""
        return None

    def counted(self, outputs: Any, batch: Batch) -> dict[str, Tensor | int]:
        """What a batch adds to the sums, by name; `count` is over what the loss is a mean of.

        In training `self.training` is true, and `loss` is added where this says none.
        """
        count = self.real(batch[1]).sum()
        return {"count": count} if self.training else {"count": count, "loss": self.loss(outputs, batch) * count}

    def measured(self, sums: Mapping[str, Tensor], split: str) -> dict[str, float]:
        """The metrics from the sums over all batches and processes, float64 on the CPU.

        As it stands each metric is a sum of its own name, over `count`.
        """
        wanted = self.in_training if split == "train" else self.metrics
        return {name: float(sums[name] / sums["count"]) for name in wanted}

    @classmethod
    @final
    def probabilities(cls, outputs: Any) -> Tensor:
        """What library metrics read, and predictions are made of: (B, K, ...), by `activation`.

        At least in single precision; in double where the outputs are.
        """
        return activation(cls.activation).predictions(outputs if outputs.dtype == torch.float64 else outputs.float())

    def image_losses(self, outputs: Any, batch: Batch) -> Tensor:
        """Loss of each image of a test batch, (B,): which are the hardest. As it stands that of the image alone."""
        alone = [slice(index, index + 1) for index in range(len(outputs))]
        return torch.stack([self.loss(outputs[one], (batch[0][one], batch[1][one])) for one in alone])

    def real(self, targets: Tensor) -> Tensor:
        """Which images of a batch count, bool (B,): not those that only fill it up."""
        return (targets.view(len(targets), -1) != self.padding).any(dim=1)

    def describe(self, outputs: Any, batch: Batch, index: int) -> tuple[str, str]:
        """What is true of an image of the batch, and what the net says: two short texts."""
        return "", ""

    @staticmethod
    def truth(targets: Tensor, classes: int) -> Tensor:
        """How far each class is true of each image, float (B, K); 0 for an image without a target."""
        return (targets[:, None] == torch.arange(classes, device=targets.device)).float()

    @staticmethod
    def answers(outputs: Any) -> Tensor:
        """The class that the net says of each image before all others, int64 (B,)."""
        return outputs.argmax(dim=1)

    @staticmethod
    def speaks_for(outputs: Any, classes: Tensor) -> Tensor:
        """What of the outputs speaks for the class (B,) of each image: `wanted` of models/analysis/wanted_score.py."""
        return classes

    @classmethod
    def confidence(cls, outputs: Any, classes: Tensor) -> Tensor:
        """The probability of the class (B,) of each image, float (B,)."""
        return cls.probabilities(outputs).gather(1, classes[:, None])[:, 0]

    def row(self, outputs: Any, batch: Batch, index: int) -> dict[str, Any]:
        """What a table says of an image, column by column, beside its file and its loss."""
        true, predicted = self.describe(outputs, batch, index)
        return {"true": true, "predicted": predicted}

    def draw(self, image: Tensor, outputs: Any, batch: Batch, index: int) -> Tensor:
        """A picture of what the net says, uint8 (C, H, W); `image` is the same, before it was normalised."""
        return image

    @staticmethod
    def labelled(images: Tensor, targets: Tensor) -> Tensor:
        """Images uint8 (B, C, H, W) with their targets drawn into them, where those have a place."""
        return images

    def decisions(self, outputs: Any, batch: Batch) -> Tensor | None:
        """True and predicted class of each image, int64 (B, 2), where an image has one class."""
        return None

    def confusion(self) -> Tensor | None:
        """Counts (K, K) of the test, true by predicted class, where `decisions` are not of images."""
        return None

    interval_method = ""
    """Whose interval it is: reports name it."""

    def interval(self, metrics: Mapping[str, float], images: int) -> tuple[float, float] | None:
        """95 % interval of the first metric of a test, where it has one."""
        return None

    def calibration(self, probs: Tensor, targets: Tensor) -> dict[str, Any]:
        """What validation decides for later use, as plain values; checkpoints keep it on their card.

        Args:
            probs: `probabilities` of all images of a validation, on the CPU, in no certain order.
            targets: theirs.
        """
        raise NotImplementedError

    def use_calibration(self, found: Mapping[str, Any]) -> None:
        """Decide by what `calibration` found from now on."""
        raise NotImplementedError

    def label_counts(self) -> ClassCounts | None:
        """Counts of images of each label of the last evaluation, where an image has several."""
        return None

    # What all share.

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

    def forward(self, images: Tensor) -> Any:
        """What the net makes of normalised images (B, C, H, W).

        While `features_into` is set, of what that module is given. Of several views (B, V, C, H, W) of each image, the
        image itself in front, outputs of which their mean prediction is made.
        """
        if images.ndim == 5:
            made = [self(view) for view in images.unbind(dim=1)]
            if self.output == "dense":  # the second view is the mirror image
                made = [one.flip(-1) if place else one for place, one in enumerate(made)]
            return averaged_outputs(made, self.activation)
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
        """Freeze for the current epoch: after a resume in mid-epoch `on_train_epoch_start` is not called."""
        for split, sums in self.sums.items():  # those of a checkpoint come from the CPU
            self.sums[split] = {name: value.to(self.device) for name, value in sums.items()}
        self.freezing.start_epoch(self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums and metrics; a resumed epoch keeps those of its checkpoint."""
        self.freezing.start_epoch(self.current_epoch)
        self.epoch_metrics.clear()
        self._start("train")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch with everything that is minimised beside it."""
        outputs = self.outputs(batch)
        loss = self.loss(outputs, batch)
        with torch.no_grad():
            counted = self.counted(outputs, batch)
            self._add("train", {"loss": loss.detach() * counted["count"], **counted})
        extra = self.extra_loss(outputs, batch)
        if extra is not None:
            loss = loss + extra
        if self.l1:
            loss = loss + self.l1 * l1_penalty(self.net)
        if self.l2:
            loss = loss + self.l2 * l2_penalty(self.net)
        return loss

    def on_train_epoch_end(self) -> None:
        """Report the epoch's means, then let reduce-on-plateau see the monitored metric."""
        self._report(self._metrics("train"))
        assert self.schedule is not None
        value = self.monitored()
        if self.schedule.watcher and value is not None:
            self.schedule.observe(value)

    def on_validation_epoch_start(self) -> None:
        """Start this pass over the validation images at zero."""
        self._start("val")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the sums of the pass."""
        self._score("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Report the pass, and let the checkpoints of this moment keep what it decides."""
        if not self.trainer.sanity_checking:
            self._report(self._metrics("val"))
            if self.calibrates:
                self.card["calibration"] = self.calibration(*self._all_validated())

    def on_test_epoch_start(self) -> None:
        """Start this pass over the test images at zero."""
        self._start("test")

    def test_step(self, batch: Batch, batch_idx: int) -> Any:
        """Add one batch to the sums of the pass; what the net made of it goes to the callbacks."""
        return self._score("test", batch)

    def on_test_epoch_end(self) -> None:
        """Hand the metrics to the caller of `trainer.test`; the run records them with the right step."""
        self.epoch_metrics.update(self._metrics("test"))

    def monitored(self) -> float | None:
        """The epoch's value of the monitor, whoever logged it: the task, or a callback by `self.log`.

        None in an epoch without validation, unless it is a metric of training.
        """
        if self.monitor in self.epoch_metrics:
            return self.epoch_metrics[self.monitor]
        validated = any(name.startswith("val/") for name in self.epoch_metrics)
        value = self.trainer.callback_metrics.get(self.monitor)
        return None if value is None or not (validated or self.monitor.startswith("train/")) else float(value)

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
        """Add what makes the file stand alone, and what an open epoch has found: metrics, and sums, a row a process."""
        checkpoint[CARD] = self.card
        checkpoint["figures"] = dict(self.epoch_metrics)
        checkpoint["train_sums"] = None
        if "train" in self.sums:
            found = {}
            for name, value in self.sums["train"].items():
                rows = [value]
                if self.trainer.world_size > 1:
                    rows = [torch.empty_like(value) for _ in range(self.trainer.world_size)]
                    torch.distributed.all_gather(rows, value)
                found[name] = torch.stack(rows).cpu()
            checkpoint["train_sums"] = found

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up metrics and sums of an epoch that was interrupted, as this process left them.

        Raises:
            UserError: the optimiser's state is of parameter groups that this transfer mode does not have.
        """
        self._refuse_other_groups(checkpoint)
        if calibration := checkpoint.get(CARD, {}).get("calibration"):
            self.card["calibration"] = calibration
        self.epoch_metrics = dict(checkpoint.get("figures", {}))
        stored = checkpoint.get("train_sums")
        if stored is None:
            return
        if isinstance(stored, Tensor):  # of a release before 0.2: (processes, 3)
            stored = dict(zip(("loss", "correct", "count"), stored.view(-1, 3).unbind(dim=1), strict=True))
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self._trainer else (0, 1)
        self.sums["train"] = {
            # In another number of processes the first one goes on with what all have found.
            name: rows[rank].clone() if len(rows) == world else rows.sum(dim=0) * (rank == 0)
            for name, rows in stored.items()
        }

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

    def _from_library(self, chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, Metric]:
        """The metrics that torchmetrics' classes, or our own of its kind, compute: the task's, then the chosen ones."""
        how: dict[str, Any] = {"num_classes": len(self.class_names), "ignore_index": self.padding}
        own = {name: build_metrics([found], self.library, **how)[found] for name, found in self.from_library.items()}
        return own | build_metrics(chosen, self.library, **how)

    def _start(self, split: str) -> None:
        self.sums[split] = {}
        self._validated.clear()
        for metric in self.library_metrics.get(split, {}).values():
            metric.to(self.device).reset()

    def _add(self, split: str, counted: Mapping[str, Tensor | int]) -> None:
        sums = self.sums[split]
        for name, value in counted.items():
            if name in sums:
                sums[name] += value
            else:
                sums[name] = torch.as_tensor(value, dtype=self._precise, device=self.device).clone()

    @property
    def _precise(self) -> torch.dtype:
        """float64 keeps counts exact and losses equal between batch sizes; Apple's GPUs only have float32."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def _score(self, split: str, batch: Batch) -> Any:
        outputs = self.outputs(batch)
        self._add(split, self.counted(outputs, batch))
        if library := self.library_metrics[split]:
            update_metrics(library.values(), self.probabilities(outputs), batch[1], ignore_index=self.padding)
        if self.calibrates and split == "val":
            real = self.real(batch[1])
            self._validated.append((self.probabilities(outputs)[real], batch[1][real]))
        return outputs

    def _all_validated(self) -> tuple[Tensor, Tensor]:
        """Probabilities and targets of the validation, of all processes, on the CPU."""
        rows = [(probs.cpu(), targets.cpu()) for probs, targets in self._validated]
        self._validated.clear()
        if self.trainer.world_size > 1:
            parts: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, rows)
            rows = [row for part in parts for row in part]
        probs, targets = zip(*rows, strict=True)
        return torch.cat(probs), torch.cat(targets)

    def total(self, split: str) -> dict[str, Tensor]:
        """The sums of a split over all processes, on the CPU."""
        sums = self.sums[split]
        if self.trainer.world_size > 1:
            sums = {
                name: self.trainer.strategy.reduce(value.clone(), reduce_op="sum")  # type: ignore[misc]
                for name, value in sums.items()
            }
        return {name: value.cpu() for name, value in sums.items()}

    def _metrics(self, split: str) -> dict[str, float]:
        sums = self.total(split)
        if not sums or not sums["count"]:
            raise UserError(f"{split}: none of its images could be read")
        found = self.measured(sums, split)
        library = self.library_metrics.get(split, {})
        found |= {name: gathered_value(metric, self.trainer.world_size) for name, metric in library.items()}
        order = dict.fromkeys([*(name for name in self.metrics if name in found), *found])
        return {f"{split}/{name}": found[name] for name in (found if split == "train" else order)}

    def _report(self, metrics: dict[str, float]) -> None:
        """Send metrics to the loggers now, so that they are on disk before the checkpoint of the same moment."""
        self.epoch_metrics.update(metrics)
        self.log_dict(metrics, logger=False)
        for logger in self.trainer.loggers:
            step = self.trainer.global_step
            logger.log_metrics({"epoch": float(self.trainer.current_epoch), **metrics}, step=step)
