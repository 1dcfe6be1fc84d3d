"""`trainer.precision=auto`: the step of what it chooses against the best of all four ways, measured side by side.

`python -m benchmarks.precision`. Whole training steps (forward, backward, AdamW) of the task on digits at 32 pixels, in
float32 and bfloat16, NCHW and channels-last. The probe looks several times, each time anew, and the worst of its
choices counts. What is compared is a step after the choice; the probe is paid once in a run, and the note says how many
steps of the best way it takes as long as. All four nets take some four minutes.
"""

import copy
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure import Row, compared, interleaved, main, one_thread
from datamodules.digits import Digits
from engine.autotune import AUTOCAST, ROUNDS, ways_to_compute
from engine.memory import keep_freed_memory
from models.build import build_net
from models.tasks.classification import Classification
from settings.preprocessing import Preprocessing

SIDE, PROBES, GOAL = 32, 5, 1.05
CPU = torch.device("cpu")
VIT = {"img_size": SIDE, "patch_size": 4}
NETS: dict[str, dict[str, Any]] = {
    "LeNet-5": {"name": "lenet5", "source": "own", "batch": 128, "steps": 8},
    "ResNet-18": {"name": "resnet18", "source": "torchvision", "batch": 128, "steps": 1},
    "EfficientNet-B0": {"name": "efficientnet_b0", "source": "torchvision", "batch": 64, "steps": 1},
    "ViT-tiny": {"name": "vit_tiny_patch16_224", "source": "timm", "batch": 32, "steps": 1, "arguments": VIT},
}


def run() -> list[Row]:
    """Look, then measure, for each net."""
    one_thread()
    keep_freed_memory()
    data = Digits()
    how = Preprocessing(
        image_size=SIDE, resize=SIDE, interpolation="bilinear", channels=3, mean=(0.3,) * 3, std=(0.4,) * 3
    )
    data.configure(preprocessing=how)
    data.setup()
    return [of_net(title, data, **net) for title, net in NETS.items()]


def of_net(
    title: str, data: Digits, *, name: str, source: str, batch: int, steps: int, arguments: dict[str, Any] | None = None
) -> Row:
    """Measure one net.

    Args:
        title: of its row.
        data: where batches come from.
        name: of the net.
        source: whose it is.
        batch: images of a step.
        steps: timed at once.
        arguments: of its constructor.
    """
    shape: dict[str, Any] = {"num_classes": 10, "in_channels": 3, "image_size": SIDE}
    torch.manual_seed(0)
    net = build_net(name=name, source=source, arguments=arguments or {}, **shape)
    optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05}
    task = Classification(net=net, class_names=data.class_names, optimizer=optimizer, scheduler={"name": "constant"})
    task.train()
    began = time.process_time()
    found = [ways_to_compute(task, data, images=batch, device=CPU) for _ in range(PROBES)]
    seconds = (time.process_time() - began) / PROBES
    choices = Counter(_named(ways[0].precision, ways[0].channels_last) for ways in found)
    ready = data.evaluation_batch(data.plain_batch("train", torch.arange(batch)))
    ways = {
        _named(precision, layout): _steps(task, ready, AUTOCAST[precision], layout, steps)
        for layout in (False, True)
        for precision in AUTOCAST
    }
    times = interleaved(ways)
    middle = {way: statistics.median(taken) for way, taken in times.items()}
    chosen, best = max(choices, key=lambda way: middle[way]), min(middle, key=lambda way: middle[way])
    said = ", ".join(f"{way} {count} of {PROBES}" for way, count in choices.items())
    worth = seconds * steps / middle[best]
    note = (
        f"probe: {ROUNDS * len(ways)} steps, {seconds:.1f} s, as {worth:.0f} steps of the best; "
        f"chose {said}; best {best}"
    )
    return compared(
        f"precision=auto: {title}, {SIDE} x {SIDE}, batch {batch}",
        {"chosen": times[chosen], "best of four": times[best], **times},
        ours="chosen",
        theirs="best of four",
        goal=GOAL,
        lower_is_better=True,
        note=note,
    )


def _named(precision: str, channels_last: bool) -> str:
    return precision + (" channels-last" if channels_last else "")


def _steps(task: Classification, batch: Any, dtype: Any, channels_last: bool, steps: int) -> Callable[[], None]:
    """Some training steps on a copy of the task."""
    own = copy.deepcopy(task)
    own.keep_channels_last(channels_last)
    own.on_train_epoch_start()
    optimizer = torch.optim.AdamW(own.parameters(), lr=1e-3, fused=True)

    def work() -> None:
        for _ in range(steps):
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                loss = own.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return work


if __name__ == "__main__":
    main("precision", run)
