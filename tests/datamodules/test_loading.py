import gc

import pytest
import torch

from datamodules import loading
from datamodules.loading import (
    PADDING,
    EvaluationBatches,
    Padded,
    TrainBatches,
    batch_loader,
    refuse_small_shared_memory,
    workers_here,
)
from datamodules.randomness import permutation
from settings.errors import UserError


def batches(*, size=103, batch_size=12, accumulation=1, rank=0, world=1, seed=0, position=(0, 0)):
    return TrainBatches(
        size=size,
        batch_size=batch_size,
        accumulation=accumulation,
        rank=rank,
        world=world,
        seed=seed,
        position=lambda: position,
    )


def test_an_epoch_is_the_permutation_without_its_incomplete_end():
    sampler = batches(position=(4, 0))
    seen = list(sampler)
    assert [len(one) for one in seen] == [12] * 8
    assert len(sampler) == 8
    assert torch.equal(torch.cat(seen), permutation(103, seed=0, epoch=4)[:96])


def test_where_the_batch_size_divides_each_image_is_seen_once():
    assert torch.cat(list(batches(size=96))).sort().values.tolist() == list(range(96))


@pytest.mark.parametrize("offset", range(9))
def test_an_offset_gives_exactly_the_rest_of_the_epoch(offset):
    whole = list(batches(position=(2, 0)))
    sampler = batches(position=(2, offset))
    rest = list(sampler)
    assert len(sampler) == 8  # the full epoch, as Lightning counts
    assert len(rest) == 8 - offset
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[offset:], strict=True))


def test_two_ranks_share_each_global_batch():
    whole = list(batches(position=(1, 3)))
    first, second = (list(batches(world=2, rank=rank, position=(1, 3))) for rank in (0, 1))
    assert [len(one) for one in first] == [6] * 5
    for both, left, right in zip(whole, first, second, strict=True):
        assert not set(left.tolist()) & set(right.tolist())
        assert torch.equal(torch.cat([left, right]), both)


def test_accumulation_does_not_change_what_an_optimiser_step_sees():
    whole = list(batches())
    parts = list(batches(accumulation=3))
    assert len(parts) == 24  # 103 images would give 25 batches of 4: the last window would be short
    assert [len(one) for one in parts] == [4] * 24
    for step, both in enumerate(whole):
        assert torch.equal(torch.cat(parts[3 * step : 3 * step + 3]), both)


def test_fewer_images_than_a_batch_make_one_smaller_batch():
    assert [len(one) for one in batches(size=5)] == [5]
    assert len(batches(size=5)) == 1
    assert [len(one) for one in batches(size=5, world=2, rank=1)] == [2]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 12])
def test_evaluation_sees_each_image_once_in_order_in_equal_steps(size, world):
    samplers = [EvaluationBatches(size=size, local_batch_size=3, rank=rank, world=world) for rank in range(world)]
    seen = [list(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(one) for one in seen]
    assert len({tuple(map(len, one)) for one in seen}) == 1, "every rank makes the same steps"
    images = torch.stack([torch.cat(one) for one in seen], dim=1).flatten()  # place * world + rank
    assert images.tolist() == [*range(size), *[PADDING] * (-size % world)]


def test_padding_has_a_target_that_no_score_counts():
    images, targets = torch.arange(5), torch.tensor([3, 4, 5, 6, 7])

    class Source:
        def __getitem__(self, indices):
            return images[indices], targets[indices]

    found = Padded(Source())[torch.tensor([4, PADDING])]
    assert found[1].tolist() == [7, PADDING] and found[0].shape == (2,)
    assert targets.tolist() == [3, 4, 5, 6, 7], "the source keeps its own"


class FrozenObjects:
    """Counts what the collector of this process leaves alone."""

    def __getitem__(self, indices):
        return torch.tensor([gc.get_freeze_count()]), indices


def test_a_worker_leaves_the_objects_of_the_run_alone():
    batches = EvaluationBatches(size=4, local_batch_size=2, rank=0, world=1)
    own = len(gc.get_objects())
    for count, _ in batch_loader(FrozenObjects(), batches, workers=1):
        assert int(count) > own / 2
    assert gc.get_freeze_count() == 0


def test_workers_follow_the_machine(monkeypatch):
    for cores, processes, expected in ((1, 1, 1), (2, 1, 2), (64, 1, 8), (16, 4, 4), (2, 4, 1)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert workers_here(processes) == expected


def test_shared_memory_that_is_too_small_is_named_at_once(monkeypatch):
    monkeypatch.setattr(loading, "free_shared_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"data\.num_workers=4: their batches .*; take data\.num_workers=1, "):
        refuse_small_shared_memory(workers=4, batches=100, batch_bytes=300)
    with pytest.raises(UserError, match=r"take data\.num_workers=0, "):
        refuse_small_shared_memory(workers=1, batches=100, batch_bytes=600)
    refuse_small_shared_memory(workers=4, batches=3, batch_bytes=300)
    refuse_small_shared_memory(workers=0, batches=100, batch_bytes=5000)
    monkeypatch.setattr(loading, "free_shared_memory", lambda: None)
    refuse_small_shared_memory(workers=4, batches=100, batch_bytes=5000)
