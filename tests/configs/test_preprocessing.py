"""The preprocessing's plain values survive a checkpoint, and impossible ones are named."""

import io

import pytest
import torch

from configs.preprocessing import Preprocessing

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
