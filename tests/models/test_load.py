"""A run folder gives back the net, its preprocessing and its class names."""

from pathlib import Path

import pytest
import torch

from models import load_run
from models.build import build_net
from settings import run_names
from settings.errors import UserError
from settings.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(image_size=8, resize=8, interpolation="bilinear", channels=1, mean=(0.3,), std=(0.4,))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as training leaves it, of a tiny net."""
    about = {
        "name": "resnet20",
        "source": "own",
        "arguments": {"width": 4, "depth": 8},
        "num_classes": 2,
        "in_channels": 1,
        "image_size": 8,
    }
    net = build_net(**about)
    net(torch.rand(4, 1, 8, 8))  # moves the norms' statistics
    stored = {
        "lightbox": {
            "schema": 1,
            "task": "classification",
            "model": about,
            "class_names": ["cat", "dog"],
            "preprocessing": PREPROCESSING.to_dict(),
            "split_seed": 0,
            "data_fingerprint": "abc",
            "config": {"seed": 0},
        },
        "state_dict": {f"net.{key}": value for key, value in net.state_dict().items()},
        "optimizer_states": [{"state": {}, "param_groups": []}],
    }
    folder = tmp_path / "runs" / "digits-resnet20" / "first"
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(stored, folder / "checkpoints" / "best.ckpt")
    stored["state_dict"] = {key: torch.zeros_like(value) for key, value in stored["state_dict"].items()}
    torch.save(stored, folder / "checkpoints" / "last.ckpt")
    return folder


def change(file: Path, **values: object) -> None:
    stored = torch.load(file, weights_only=True)
    stored["lightbox"].update(values)
    torch.save(stored, file)


def test_a_run_gives_net_preprocessing_and_class_names(run: Path) -> None:
    loaded = load_run(run)
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, weights[f"net.{key}"]) for key, value in loaded.net.state_dict().items())
    assert not loaded.net.training
    assert loaded.preprocessing == PREPROCESSING
    assert loaded.class_names == ("cat", "dog")
    assert loaded.checkpoint["config"] == {"seed": 0}
    net, preprocessing, class_names = loaded
    assert net is loaded.net and preprocessing is loaded.preprocessing and class_names == ("cat", "dog")
    assert loaded.net(torch.rand(3, 1, 8, 8)).shape == (3, 2)


def test_a_checkpoint_file_is_taken_as_it_is(run: Path) -> None:
    assert not any(value.any() for value in load_run(str(run / "checkpoints" / "last.ckpt")).net.parameters())


def test_a_run_is_found_below_the_root_and_by_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_names, "ROOT", run.parents[2])
    monkeypatch.chdir("/")
    for path in ("first", "digits-resnet20/first", "digits-resnet20", "runs/digits-resnet20/first"):
        assert load_run(path, runs=run.parents[1]).class_names == ("cat", "dog")


def test_loading_leaves_the_random_state_alone(run: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_run(run)
    assert torch.equal(torch.rand(1), expected)


def test_what_is_not_a_run_is_refused(run: Path, tmp_path: Path) -> None:
    best = run / "checkpoints" / "best.ckpt"
    with pytest.raises(UserError, match="nowhere: no such run folder, name or checkpoint"):
        load_run("nowhere")
    with pytest.raises(UserError, match=r"there is no file .*best\.ckpt"):
        (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
        load_run(tmp_path / "empty")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(UserError, match="no key 'lightbox'"):
        load_run(tmp_path / "foreign.ckpt")
    change(best, schema=2)
    with pytest.raises(UserError, match="schema 2; this version reads 1"):
        load_run(run)
    change(best, schema=1, model={**torch.load(best, weights_only=True)["lightbox"]["model"], "num_classes": 3})
    with pytest.raises(UserError, match="does not fit its own net resnet20"):
        load_run(run)
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot read the weights"):
        load_run(run)
