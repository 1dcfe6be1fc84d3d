"""The preprocessing's plain values survive a checkpoint, and impossible ones are named."""

import io

import pytest
import torch

from models.build import NetInput
from settings.preprocessing import Preprocessing, choose

VALUES = {
    "image_size": 28,
    "resize": 32,
    "interpolation": "bicubic",
    "channels": 1,
    "mean": (0.3,),
    "std": (0.2,),
}


def test_plain_values_survive_a_weights_only_checkpoint() -> None:
    preprocessing = Preprocessing(**VALUES)
    file = io.BytesIO()
    torch.save(preprocessing.to_dict(), file)
    file.seek(0)
    assert Preprocessing.from_dict(torch.load(file, weights_only=True)) == preprocessing
    assert preprocessing.to_dict()["mean"] == [0.3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": 20}, "20 and 28"),
        ({"image_size": 0}, "0"),
        ({"interpolation": "cubic"}, "bilinear, bicubic, nearest; got 'cubic'"),
        ({"channels": 3}, "3 channels; got 1 and 1"),
        ({"std": (0.0,)}, "positive"),
    ],
)
def test_impossible_values_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**{**VALUES, **change})


def test_stored_values_that_do_not_fit_are_named() -> None:
    stored = {**Preprocessing(**VALUES).to_dict(), "crop": 3}
    del stored["mean"]
    with pytest.raises(ValueError, match=r"missing \['mean'\], unknown \['crop'\]"):
        Preprocessing.from_dict(stored)


IMAGENET = NetInput(
    image_size=224, resize=256, interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2), origin="a set"
)
DATA = {"native_size": 28, "mean": (0.1,), "std": (0.3,)}


def test_the_preparation_follows_the_weights_and_says_so() -> None:
    chosen = choose(IMAGENET, image_size=None, channels=3, **DATA)
    assert (chosen.image_size, chosen.resize, chosen.mean) == (224, 256, (0.4, 0.5, 0.6))
    assert chosen.settled == "images: 224 pixels cut from 256, bicubic, mean 0.4, 0.5, 0.6, std 0.2; from a set"
    assert "settled" not in chosen.to_dict() and Preprocessing.from_dict(chosen.to_dict()) == chosen
    grey = choose(IMAGENET, image_size=64, channels=1, **DATA)
    assert (grey.image_size, grey.resize) == (64, 73) and grey.mean == pytest.approx((0.5,))
    assert "averaged over its channels; model.in_channels=3 keeps them apart), but for data.image_size" in grey.settled


def test_the_users_word_wins_and_is_named() -> None:
    said = {"resize": 96, "interpolation": "nearest", "mean": 0.5, "std": [0.1, 0.2, 0.3]}
    chosen = choose(IMAGENET, image_size=64, channels=3, said=said, **DATA)
    assert (chosen.resize, chosen.interpolation) == (96, "nearest")
    assert (chosen.mean, chosen.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    assert chosen.settled.endswith("but for data.image_size, data.resize, data.interpolation, data.mean, data.std")
    assert choose(IMAGENET, image_size=64, channels=3, said={"resize": 10}, **DATA).resize == 64


def test_the_datas_own_preparation_goes_without_saying() -> None:
    chosen = choose(NetInput(), image_size=None, channels=1, said=dict.fromkeys(("resize", "mean")), **DATA)
    assert chosen.settled == "" and (chosen.mean, chosen.resize) == ((0.1,), 28)
    assert choose(NetInput(), image_size=None, channels=1, said={"mean": [0.2]}, **DATA).settled.endswith(
        "from the data, but for data.mean"
    )
