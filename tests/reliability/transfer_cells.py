"""What `test_transfer_modes.py` trains: modes, nets and schedules, and what a run did to each stage in each epoch."""

from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor

from models.stages import stages
from models.tasks.classification import Classification
from models.transfer import MODES, WITH_ADAPTERS
from settings.schema import names

SMALL = [
    *("data=digits", "data.per_class=10", "data.batch_size=32", "data.image_size=32", "data.forbid=[]"),
    *("augment=light", "optimizer=sgd", "optimizer.lr=0.01", "optimizer.weight_decay=0.1", "trainer.max_epochs=4"),
    *("callbacks=none", "test=false", "trainer.accelerator=cpu"),
]
EPOCHS, STEPS = 4, 3  # 100 images in batches of 32, the rest left out

OVERRIDES = {
    "partial": ["transfer.stages=2"],
    "gradual": ["transfer.head_epochs=1"],
    "discriminative": ["transfer.decay=0.5"],
    "lora": ["transfer.rank=2", "transfer.dropout=0.2", "optimizer.lr=0.1"],
}
NETS = {
    "own": ["model=cnn", "model.widths=[4,4]", "model.dense_widths=[8]"],
    "torchvision": ["model=shufflenet_v2_x0_5"],
    "timm": ["model=test_resnet"],
}
TRANSFORMERS = {"torchvision": ["model=vit_cell"], "timm": ["model=test_vit"]}
SCHEDULES = {
    "one_cycle": [],
    "cosine": [],
    "step": ["scheduler.every_epochs=1", "scheduler.gamma=0.5"],
    "plateau": ["scheduler.patience=0"],
}
CELLS = [
    (mode, net, schedule)
    for mode in MODES
    for net in (TRANSFORMERS if mode in WITH_ADAPTERS else NETS)
    for schedule in SCHEDULES
]


def overrides(mode: str, net: str, schedule: str) -> list[str]:
    """The command line of one cell."""
    nets = TRANSFORMERS if mode in WITH_ADAPTERS else NETS
    random = [] if mode == "scratch" else ["transfer.allow_random=true"]
    chosen = [f"transfer={mode}", *random, *OVERRIDES.get(mode, []), f"scheduler={schedule}", *SCHEDULES[schedule]]
    return [*SMALL, *nets[net], *chosen]


def vit_cell(*, weights: None = None, progress: bool = True, **arguments: Any) -> torch.nn.Module:
    """A vision transformer of torchvision's that is small enough to train here; theirs start at 86 M parameters."""
    net = torchvision.models.VisionTransformer(
        patch_size=16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, dropout=0.1, **arguments
    )
    torch.nn.init.normal_(net.heads.head.weight, std=0.1)  # theirs is zero, and hides the rest from the first step
    return net


def register_vit_cell() -> None:
    """Make it known to torchvision and to the configuration, as if it came with the library."""
    vit_cell.__module__ = "torchvision.models.vision_transformer"
    torchvision.models._api.BUILTIN_MODELS["vit_cell"] = vit_cell
    known = names.library_nets("torchvision")
    original = names.library_nets
    names.library_nets = lambda source: known | {"vit_cell"} if source == "torchvision" else original(source)


class Watch:
    """Copies of all tensors of a net at the start of each epoch and at the end."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, Tensor]] = {}
        self.plan: Any = None
        self.owner: dict[str, str] = {}

    def step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A training step that looks first."""

        def training_step(task: Any, batch: Any, batch_idx: int) -> Any:
            if task.current_epoch not in self.seen:
                self.take(task, task.current_epoch)
            return original(task, batch, batch_idx)

        return training_step

    def take(self, task: Any, epoch: int) -> None:
        """Copy the net's tensors, and note which stage each belongs to."""
        self.plan = task.freezing.plan
        self.seen[epoch] = {name: value.clone() for name, value in task.net.state_dict().items()}
        self.owner = {name: stage.name for stage in stages(task.net) for name in stage.parameters}
        modules = {name.rpartition(".")[0]: stage for name, stage in self.owner.items()}
        for name in self.seen[epoch]:
            if name not in self.owner:  # a buffer goes with its module
                self.owner[name] = modules[name.rpartition(".")[0]]

    def check(self, *, statistics: bool = True) -> list[str]:
        """Hold what changed in each epoch against the plan; gives the stages that trained in any.

        `statistics`: whether batch norm's own numbers are to have moved where their stage trained.
        """
        ever: set[str] = set()
        for epoch in range(EPOCHS):
            trained = self.plan.shares(epoch)
            ever |= set(trained)
            before, after = self.seen[epoch], self.seen[epoch + 1]
            for stage in self.plan.stages:
                inside = [name for name, owner in self.owner.items() if owner == stage]
                moved = {name for name in inside if not torch.equal(before[name], after[name])}
                if stage not in trained:
                    assert not moved, (epoch, stage, moved)
                    continue
                assert moved, (epoch, stage)
                for name in inside:
                    if statistics and (".running_" in name or name.endswith("num_batches_tracked")):
                        assert name in moved, (epoch, name)
        return sorted(ever)


def watched(work: Callable[[], Any]) -> Watch:
    """Run the work with an eye on the net; the work trains one task to the end."""
    watch, original, end = Watch(), Classification.training_step, Classification.on_train_end
    Classification.training_step = watch.step(original)  # type: ignore[method-assign]
    Classification.on_train_end = lambda task: watch.take(task, EPOCHS)  # type: ignore[method-assign,misc]
    try:
        work()
    finally:
        Classification.training_step = original  # type: ignore[method-assign]
        Classification.on_train_end = end  # type: ignore[method-assign]
    return watch
