"""What of a recipe does not fit the images' size is told before a run begins, and leaves no run folder."""

import pytest
import torch

from engine.data_and_task import build_data
from settings.errors import UserError
from settings.reading.compose import compose
from train import train

MISTAKES = {
    "augment.cutout.side=0.01": "cutout.side=0.01 is 0 of 8 pixels",
    "augment.random_crop.padding=0.01": "random_crop.padding=0.01 is 0 of 8 pixels",
    "augment.hide_and_seek.grids=[20]": "hide_and_seek.grids: 20 cells do not fit into 8x8",
    "augment.grid_mask.smallest=0.1": "grid_mask.smallest=0.1 is 1 of 8 pixels",
    "augment.elastic.smoothness=0.01": "elastic.smoothness=0.01 is 0.08 of 8 pixels",
    "augment.Resize={height: 5, width: 6}": "turn 8 x 8 pixels into 5 x 6",
    "augment.RandomCrop={height: 64, width: 64}": "augment: .*64",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_what_does_not_fit_is_told_before_the_run_begins(line, tmp_path):
    for p in ("", "p: 0.0001"):  # however seldom it would happen
        if p and "={" in line:
            continue
        words = [line, *([f"augment.{line.split('.')[1]}.p=0.0001"] if p else [])]
        with pytest.raises(UserError, match=MISTAKES[line]):
            train([*words, "model=mlp", f"paths.runs={tmp_path}"])
    assert not list(tmp_path.iterdir())


def test_trying_it_moves_no_draw():
    line = ["augment=standard", "augment.GaussNoise.p=0.5", "data.per_class=4", "data.forbid=[]"]
    data, _ = build_data(compose(line))
    before = next(iter(data.train_dataloader()))
    drawn = data.train_batch(before, step=3)
    state = torch.get_rng_state()
    data.try_recipe()
    assert torch.equal(torch.get_rng_state(), state)
    again = data.train_batch(before, step=3)
    assert torch.equal(drawn[0], again[0]) and torch.equal(drawn[1], again[1])
