"""The largest batch: the search on constructed answers, real steps on real data, and a net that runs out of memory."""

import mmap
import sys

import numpy as np
import pytest
import torch

from engine.batch_finder import Size, expected_memory, largest_batch, recommended, search, sizes_said
from engine.data_and_task import build_data, build_task
from engine.memory import MEMINFO, PeakMemory
from settings.reading.compose import compose

CPU = torch.device("cpu")


def answers(largest, *, memory=None, seconds=0.01, asked=None):
    """An attempt that fits up to `largest`, and takes `memory` bytes an image above 1000."""

    def attempt(size):
        if asked is not None:
            asked.append(size)
        taken = None if memory is None else 1000 + memory * size
        fits = size <= largest
        return Size(
            batch_size=size, fits=fits, run=True, seconds=seconds if fits else None, memory=taken if fits else None
        )

    return attempt


@pytest.mark.parametrize("largest", [8, 9, 31, 100, 777])
def test_doubling_then_halving_finds_the_border_to_an_eighth(largest):
    asked = []
    sizes = search(answers(largest, asked=asked), most=10_000, limit=None, seconds=60)
    found = max(one.batch_size for one in sizes if one.fits)
    assert found <= largest < found * (1 + 1 / 8) + 1
    assert len(asked) == len(set(asked)) < 16
    assert asked[:2] == [8, 16] and [one.batch_size for one in sizes] == sorted(asked)


def test_nothing_larger_than_the_data_and_no_part_of_a_window():
    assert [one.batch_size for one in search(answers(10**9), most=100, limit=None, seconds=60)] == [8, 16, 32, 64, 100]
    sizes = search(answers(100), most=3000, unit=6, limit=None, seconds=60)
    assert all(one.batch_size % 6 == 0 for one in sizes)
    assert max(one.batch_size for one in sizes if one.fits) == 96
    (none,) = search(answers(3), most=50, limit=None, seconds=60)
    assert not none.fits


def test_a_size_above_the_limit_is_never_tried():
    asked = []
    sizes = search(answers(10**9, memory=50, asked=asked), most=10**6, limit=20_000, seconds=60)
    assert max(asked) * 50 + 1000 <= 20_000
    assert max(one.batch_size for one in sizes if one.fits) == pytest.approx(380, rel=1 / 8)
    assert expected_memory(sizes, 10_000) == 1000 + 50 * 10_000


def test_when_time_is_up_the_line_answers_or_nothing_is_said():
    asked = []
    sizes = search(answers(10**9, memory=50, seconds=9.0, asked=asked), most=1000, limit=20_000, seconds=10)
    assert asked == [8, 16]
    assert max(one.batch_size for one in sizes if one.fits) > 256 and not sizes[-1].run
    sizes = search(answers(10**9, seconds=9.0), most=1000, limit=None, seconds=10)
    assert [one.batch_size for one in sizes] == [8, 16]


def test_recommended_is_the_smallest_that_is_nearly_as_fast():
    def run(size, speed):
        return Size(batch_size=size, fits=True, run=True, seconds=size / speed)

    sizes = [run(8, 100), run(16, 170), run(32, 196), run(64, 200), Size(batch_size=128, fits=True, run=False)]
    assert recommended(sizes, images=100_000).batch_size == 32
    assert recommended(sizes, images=16 * 20).batch_size == 16, "20 steps an epoch"
    assert recommended(sizes, images=10).batch_size == 8


def test_the_meter_sees_a_block_and_its_end():
    memory = PeakMemory(CPU)
    memory.reset()
    if sys.platform != "linux":
        assert memory.peak() is None
        return
    with mmap.mmap(-1, 64 * 1024**2) as block:  # not from memory that tests before have freed
        np.frombuffer(block, dtype=np.uint8).fill(1)
        assert memory.peak() == pytest.approx(len(block), rel=0.1)
    memory.reset()
    assert memory.peak() < 8 * 1024**2
    assert 0 < memory.available() <= int(MEMINFO.read_text().split()[1]) * 1024  # MemTotal comes first


@pytest.mark.slow
def test_real_steps_are_measured_and_nothing_is_left(monkeypatch):
    config = compose(["model=lenet5", "data=fashion_mnist", "data.fraction=0.02", "augment=light"])
    data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    state = torch.get_rng_state()
    seen = []
    whole = data.train_batch
    monkeypatch.setattr(data, "train_batch", lambda batch, **given: seen.append(len(batch[0])) or whole(batch, **given))
    arguments = config.trainer.lightning_arguments()
    sizes, limit = largest_batch(
        task, data, images=256, share=0.5, steps=2, seconds=60, arguments=arguments, device=CPU
    )
    assert [one.batch_size for one in sizes] == [8, 16, 32, 64, 128, 256]
    assert sorted(set(seen)) == [8, 16, 32, 64, 128, 256] and seen.count(256) == 3
    assert all(one.run and one.fits and one.speed > 0 for one in sizes)
    assert limit > 0 and data.batch_size == config.data.batch_size and data.trainer is None
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    said = "\n".join(sizes_said(sizes, limit=limit, images=1080, device=CPU))
    assert "recommended: " in said and "larger ones were not asked for" in said


class Small(torch.nn.Module):
    """A device that holds 50 images."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def stages(self):
        return [(name, [f"net.{prefix}" for prefix in prefixes]) for name, prefixes in self.net.stages()]

    def forward(self, images):
        if len(images) > 50:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return self.net(images)


def test_a_device_that_runs_out_of_memory_is_caught():
    config = compose(["model=softmax"])
    data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    task.net = Small(task.net)
    given = {"steps": 2, "seconds": 60, "arguments": config.trainer.lightning_arguments(), "device": CPU}
    sizes, limit = largest_batch(task, data, images=1000, share=1.0, **given)
    assert max(one.batch_size for one in sizes if one.fits) == 48
    assert 50 < min(one.batch_size for one in sizes if not one.fits) <= 56
    said = sizes_said(sizes, limit=limit, images=1000, device=torch.device("cuda"))
    assert any("does not fit" in line for line in said)
    assert any(line.startswith("largest that fits: 48 (run)") for line in said)
    data.train_batch = None  # any other error is not about memory
    with pytest.raises(TypeError):
        largest_batch(task, data, images=16, share=1.0, **given)
