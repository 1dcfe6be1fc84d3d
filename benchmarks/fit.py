"""A whole default fit of LeNet-5 on Fashion-MNIST at 32 pixels, against a bare PyTorch loop.

`python -m benchmarks.fit`. Ours is what `train.py` does between start-up and test: keyed batches, schedule, metrics,
checks for numbers, metrics.csv, best and last checkpoint of each epoch. The bare loop trains the same net on as many
batches of the same images, with the same fused optimiser, precision and layout, validates it, and counts what it gets
right; it schedules, logs and saves nothing.
"""

from functools import partial

import torch
from torch.nn.functional import cross_entropy, interpolate

from benchmarks.measure import ROUNDS, Row, compared, interleaved, main, one_thread
from benchmarks.ours import fit_seconds
from datamodules.fashion_mnist import FashionMNIST
from models.nets.lenet5 import LeNet5

BATCH, SIDE, RATE = 128, 32, 0.003
VALIDATION = 6000
BATCHES = (60_000 - VALIDATION) // BATCH
MEAN, STD = FashionMNIST.mean[0], FashionMNIST.std[0]


def run(*, rounds: int = ROUNDS, epochs: int = 2, batches: int = BATCHES) -> list[Row]:
    """Compare float32 and bfloat16 in channels-last order.

    Args:
        rounds: that count.
        epochs: of each fit.
        batches: of each epoch.
    """
    one_thread()
    train, val = prepared()
    settings = [
        "data=fashion_mnist",
        f"data.image_size={SIDE}",
        f"data.batch_size={BATCH}",
        "model=lenet5",
        f"optimizer.lr={RATE}",
        f"trainer.max_epochs={epochs}",
        f"trainer.limit_train_batches={batches}",
        f"trainer.limit_val_batches={batches}",
    ]
    rows = []
    for precision, layout, goal in (("32-true", False, 1.06), ("bf16-mixed", True, None)):
        own = [f"trainer.precision={precision}", f"trainer.channels_last={str(layout).lower()}"]
        times = interleaved(
            {
                "train.py": partial(fit_seconds, [*settings, *own]),
                "bare PyTorch loop": partial(
                    bare, train, val, epochs=epochs, batches=batches, half=precision != "32-true", channels_last=layout
                ),
            },
            rounds=rounds,
        )
        what = f"default fit, LeNet-5, {SIDE} x {SIDE}, batch {BATCH}, {precision}{', channels-last' if layout else ''}"
        rows.append(compared(what, times, ours="train.py", theirs="bare PyTorch loop", goal=goal, lower_is_better=True))
    return rows


def prepared() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Training and validation images at 32 pixels, uint8 ``(N, 1, 32, 32)``, and their labels."""
    data = FashionMNIST()
    data.prepare_data()
    source = data.sources()["train"]
    images = torch.cat([_resized(part) for part in source.images.split(2000)])
    cut = len(images) - VALIDATION
    return (images[:cut], source.targets[:cut]), (images[cut:], source.targets[cut:])


def _resized(images: torch.Tensor) -> torch.Tensor:
    larger = interpolate(images.float(), size=(SIDE, SIDE), mode="bilinear", antialias=True)
    return larger.round().to(torch.uint8)


def bare(
    train: tuple[torch.Tensor, torch.Tensor],
    val: tuple[torch.Tensor, torch.Tensor],
    *,
    epochs: int,
    batches: int,
    half: bool,
    channels_last: bool,
) -> None:
    """Train, validate, count: nothing else."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = LeNet5(num_classes=10, in_channels=1, image_size=SIDE).to(memory_format=layout)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, fused=True)
    scale, bias = torch.tensor(1 / (255 * STD)), torch.tensor(-MEAN / STD)

    def logits_of(images: torch.Tensor) -> torch.Tensor:
        ready = torch.addcmul(bias, images.float(), scale).contiguous(memory_format=layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return net(ready)

    for _ in range(epochs):
        net.train()
        right = torch.zeros((), dtype=torch.int64)
        for chosen in torch.randperm(len(train[0])).split(BATCH)[:batches]:
            images, targets = train[0].index_select(0, chosen), train[1][chosen]
            logits = logits_of(images)
            loss = cross_entropy(logits.float(), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            right += (logits.detach().argmax(dim=1) == targets).sum()
        right.item()
        net.eval()
        right = torch.zeros((), dtype=torch.int64)
        with torch.inference_mode():
            for images, targets in list(zip(val[0].split(BATCH), val[1].split(BATCH), strict=True))[:batches]:
                right += (logits_of(images).argmax(dim=1) == targets).sum()
        right.item()


if __name__ == "__main__":
    main("fit", run)
