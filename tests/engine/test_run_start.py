"""What a run looks at before its first step: a batch that the net can learn from, and steps enough to learn in."""

import pytest
import torch
import yaml
from PIL import Image

from engine.data_and_task import build_data, build_task
from engine.run_start import refuse_single_images
from models.analysis.advice import default_batch_size, first_settings
from models.batch_norm import wants_two_images
from settings.errors import UserError
from settings.reading.compose import compose
from train import train


@pytest.fixture
def photos(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            Image.effect_noise((12, 12), 10 + number).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def test_a_net_with_batch_norm_at_one_pixel_refuses_single_images_and_is_left_as_it_was():
    config = compose(["data.per_class=4", "model=resnet18", "data.batch_size=8", "trainer.accumulate_grad_batches=8"])
    data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    before = {name: value.clone() for name, value in task.net.state_dict().items()}
    random = torch.get_rng_state()
    with pytest.raises(UserError, match=r"data\.batch_size=8 in 1 processes x 8 .* take data\.batch_size=16 or more"):
        refuse_single_images(config, data, task)
    assert all(torch.equal(value, before[name]) for name, value in task.net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random) and all(one.requires_grad for one in task.parameters())
    config.trainer.accumulate_grad_batches = 4
    refuse_single_images(config, data, task)  # two images a pass
    assert not wants_two_images(task, channels=1, image_size=64)  # there are several pixels at the end


def test_a_net_without_batch_norm_trains_on_single_images():
    config = compose(["data.per_class=4", "model=mlp", "data.batch_size=1"])
    data, preprocessing = build_data(config)
    refuse_single_images(config, data, build_task(config, data, preprocessing))


def test_the_default_batch_follows_the_number_of_images():
    assert [default_batch_size(images) for images in (10, 44, 200, 2000, 3300, 10**6)] == [8, 8, 16, 32, 64, 64]
    assert [default_batch_size(44, parts=parts) for parts in (2, 3, 6)] == [8, 6, 12]
    assert default_batch_size(10**6, parts=3) == 63
    assert first_settings([5, 5], "a fork's", "adamw")["optimizer.lr"] == "0.0002"


def test_small_data_get_a_small_batch_and_are_told_what_to_type(photos, tmp_path, capsys):
    line = ["data=folder", f"data.root={photos}", "model=softmax", "callbacks.report=null", "data.num_workers=0"]
    train([*line, "trainer.max_epochs=2", f"paths.runs={tmp_path}", "name=x", f"paths.data={tmp_path}"])
    said = capsys.readouterr().out
    folder = tmp_path / "folder-softmax" / "x"
    images = (folder / "splits.csv").read_text().count(",train")
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["batch_size"] == 8
    assert (
        f"few steps: {images} training images in batches of 8 are {images // 8} an epoch, {images // 8 * 2} in all; "
        f"to type: trainer.max_epochs={1000 // (images // 8)} optimizer.lr=0.002" in said
    )
    assert "few steps" in (folder / "train.log").read_text() or "few steps" in said
