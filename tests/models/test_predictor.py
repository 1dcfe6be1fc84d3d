"""From pixels to probabilities: one net is itself, views and members are plain averages."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import TenCrop

from datamodules.transforms import fit_to, normalise
from datamodules.views import cut_views
from models.load import LoadedRun
from models.predictor import Predictor, average
from settings.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    image_size=24, resize=28, interpolation="bilinear", channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)
)


def images(count: int = 6) -> torch.Tensor:
    from sklearn.datasets import load_sample_images

    china, flower = (torch.from_numpy(one.copy()).permute(2, 0, 1) for one in load_sample_images().images)
    cut = [one[:, row : row + 60, row : row + 90] for row in range(20, 300, 100) for one in (china, flower)]
    return torch.stack(cut[:count])


def loaded(seed: int, names: tuple[str, ...] = ("a", "b", "c", "d"), **trainer: object) -> LoadedRun:
    torch.manual_seed(seed)
    body = (nn.Conv2d(3, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    net = nn.Sequential(*body, nn.Linear(16, len(names)))
    net(torch.randn(8, 3, 24, 24))
    return LoadedRun(
        net=net.eval(), preprocessing=PREPROCESSING, class_names=names, checkpoint={"config": {"trainer": trainer}}
    )


def plain(run: LoadedRun, fitted: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return run.net(normalise(fitted, run.preprocessing)).double().softmax(dim=1)


def test_one_member_with_one_view_is_the_net():
    run = loaded(0)
    views = cut_views(images(), name="centre", preprocessing=PREPROCESSING)
    assert views.shape == (6, 1, 3, 24, 24)
    expected = plain(run, fit_to(images(), PREPROCESSING))
    with torch.inference_mode():
        one = Predictor.of(run)
        assert torch.equal(one(views), expected)
        assert torch.equal(one(views[:, 0]), expected)
        assert torch.equal(one(views[:, 0].float() / 255), expected) or torch.allclose(
            one(views[:, 0].float() / 255), expected, atol=1e-6
        )
        assert torch.equal(average([one(views)]), expected)
        assert torch.equal(average([one(views), one(views)]), expected)


@pytest.mark.parametrize(("resize", "fraction", "side"), [(28, None, 28), (24, None, 27), (24, 0.6, 40)])
def test_ten_crops_are_the_average_over_those_of_torchvision(resize, fraction, side):
    from torchvision.transforms.v2 import functional as v2

    run, preprocessing = loaded(1), replace(PREPROCESSING, resize=resize)
    cropped = TenCrop(24)(v2.resize(images(), [side], antialias=True))
    expected = torch.stack([plain(run, crop) for crop in cropped]).mean(dim=0)
    views = cut_views(images(), name="ten_crop", preprocessing=preprocessing, crop_fraction=fraction)
    five = cut_views(images(), name="five_crop", preprocessing=preprocessing, crop_fraction=fraction)
    with torch.inference_mode():
        assert torch.equal(Predictor.of(run)(views), expected)
        assert not torch.allclose(Predictor.of(run)(views[:, :1]), expected)
    assert torch.equal(five, views[:, :5])


def test_an_ensemble_is_the_mean_and_each_member_reads_its_own_images():
    names = ("a", "b", "c", "d")
    first, second = loaded(2), loaded(3, names=("d", "b", "a", "c"))
    own = replace(PREPROCESSING, image_size=28, mean=(0.5,) * 3, std=(0.5,) * 3)
    second = replace(second, preprocessing=own)
    given = [
        cut_views(images(), name="centre", preprocessing=PREPROCESSING),
        cut_views(images(), name="flip", preprocessing=own),
    ]
    fitted = fit_to(images(), own)
    theirs = (plain(second, fitted) + plain(second, fitted.flip(3))) / 2
    expected = (plain(first, fit_to(images(), PREPROCESSING)) + theirs[:, [2, 1, 3, 0]]) / 2
    members = [Predictor.of(run, class_names=names) for run in (first, second)]
    with torch.inference_mode():
        assert torch.allclose(
            average([net(one) for net, one in zip(members, given, strict=True)]), expected, rtol=0, atol=1e-12
        )


def test_the_precision_of_the_training_is_that_of_the_test():
    views = cut_views(images(), name="centre", preprocessing=PREPROCESSING)
    with torch.inference_mode():
        full = Predictor.of(loaded(4))(views)
        mixed = Predictor.of(loaded(4, precision="bf16-mixed"))(views)
        whole = Predictor.of(loaded(4, precision="64-true", channels_last=True))(views)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            expected = loaded(4).net(normalise(views[:, 0], PREPROCESSING))
    assert torch.equal(mixed, expected.double().softmax(dim=1)) and not torch.equal(mixed, full)
    assert torch.allclose(whole, full, atol=1e-6)
