"""Beyond 96 pixels the batched engine hands over to the path of single images by itself, to the same bits."""

from unittest.mock import Mock

import pytest
import torch

from datamodules.batch import kinds, large
from engine.data_and_task import build_data
from settings.reading.compose import compose

LINE = ["augment=standard", "data.forbid=[]", "augment.horizontal_flip.p=0.5", "data.per_class=4"]


@pytest.mark.parametrize(("side", "handed_over"), [(96, False), (97, True), (112, True)])
def test_a_recipe_on_arrays_is_the_same_on_both_sides(side, handed_over, monkeypatch):
    data, _ = build_data(compose([*LINE, f"data.image_size={side}"]))
    batch = next(iter(data.train_dataloader()))
    monkeypatch.setattr(kinds, "change_large", spy := Mock(side_effect=kinds.change_large))
    drawn = [data.train_batch(batch, step=step) for step in range(3)]
    assert bool(spy.call_count) == handed_over
    assert not handed_over or spy.call_count == 3 * 2 * len(batch[0]), "two operations an image"
    spy.reset_mock()
    monkeypatch.setattr(large, "SMALL", 10**9 if handed_over else 0)
    for step, (images, targets) in enumerate(drawn):
        again = data.train_batch(batch, step=step)
        assert torch.equal(images, again[0]) and torch.equal(targets, again[1])
    assert bool(spy.call_count) != handed_over
