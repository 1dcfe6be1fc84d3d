"""`python explain.py`: runs of each task, the page and its numbers against the pure functions, and mistakes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.explained_images import explained_classes
from explain import explain
from models import load_run
from models.analysis.grad_cam import grad_cam
from models.analysis.grid import last_grid
from models.analysis.telling_images import KINDS, telling_images
from models.normalisation import Normalise
from models.tasks.segmentation import Segmentation
from reports.explanation.maps import METHODS, overlays
from reports.explanation.page import OTHERS
from settings.commands.explain import WHAT, compose_jobs
from settings.errors import UserError
from tests.models.tasks.test_runs import QUIET, folder_of, installed, label_sets, scenes
from train import train

__all__ = ["label_sets", "scenes"]  # fixtures


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on digits."""
    root = tmp_path_factory.mktemp("digits")
    train([f"paths.runs={root}", "model=resnet20", "trainer.max_epochs=1", "name=a", "augment=none", *QUIET])
    return next(root.glob("*/a"))


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "maps.csv").read_text().splitlines()))


def test_a_run_is_explained_and_linked(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.get_rng_state()
    page = explain(f"run={digits}", "each=1")
    assert torch.equal(torch.get_rng_state(), state)
    out = capsys.readouterr().out
    assert "left out: rollout: resnet20 has no attention over the whole image" in out
    assert out.splitlines()[-1] == f"explanations: {page.parent}"
    assert page == digits / "explanations/report.html"
    text, rows = page.read_text(), rows_of(page.parent)
    made = list(dict.fromkeys(row["what"] for row in rows))
    assert all((page.parent / f"{name}.csv").is_file() for name in OTHERS) and "Which map to believe" in text
    assert made == ["cam", "grad_cam", "grad_cam_pp", "occlusion", "integrated_gradients"]
    assert all(METHODS[what].title in text and (page.parent / f"figures/{what}.png").is_file() for what in made)
    assert all(kind in text for kind in KINDS) and "Left out" in text
    link = '<a href="explanations/report.html">where it looks</a>'
    assert (digits / "report.html").read_text().count(link) == 1
    again = explain(f"run={digits}", "each=1", "what=grad_cam")
    assert (digits / "report.html").read_text().count(link) == 1
    assert rows_of(again.parent) == [row for row in rows if row["what"] == "grad_cam"], "repeats"


def test_the_numbers_are_those_of_the_functions_and_of_the_test(digits: Path) -> None:
    rows = rows_of(explain(f"run={digits}", "what=grad_cam", "each=3").parent)
    net, how, names = load_run(digits)
    from datamodules.digits import Digits

    data = Digits()
    data.configure(preprocessing=how)
    data.setup()
    places = {key: index for index, key in enumerate(data.splits["test"].keys)}
    images, targets = data.plain_batch("test", torch.tensor([places[row["image"]] for row in rows]))
    images = Normalise(how)(images)
    probs = net(images).softmax(dim=1).detach()
    classes = torch.tensor([names.index(row["class"]) for row in rows])
    assert torch.equal(classes, probs.argmax(dim=1))
    assert [float(row["probability"]) for row in rows] == pytest.approx(probs.amax(dim=1).tolist(), rel=1e-4)
    right = classes == targets
    assert right[:6].all() and not right[6:].any()
    maps = grad_cam(net, last_grid(net, images, name="resnet20"), images, classes)
    assert [float(row["maximum"]) for row in rows] == pytest.approx(maps.amax(dim=(1, 2)).tolist(), rel=1e-3, abs=1e-6)


def test_what_is_learnt_is_the_nets(digits: Path) -> None:
    folder = explain(f"run={digits}", "what=kernels,feature_maps", "each=1").parent
    net = load_run(digits).net
    kernels = list(csv.DictReader((folder / "kernels.csv").read_text().splitlines()))
    norms = net.conv.weight.detach().flatten(1).norm(dim=1).tolist()
    assert [float(row["norm"]) for row in kernels] == pytest.approx(norms, rel=1e-4)
    maps = list(csv.DictReader((folder / "feature_maps.csv").read_text().splitlines()))
    assert [row["stage"] for row in maps] == ["stem"] * 16 + ["stage1"] * 16 + ["stage2"] * 32 + ["stage3"] * 64
    assert all((folder / f"figures/{name}.png").is_file() for name in ("kernels", "feature_maps"))


def test_files_and_test_images_are_named(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "grey.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    page = explain(f"run={digits}", "what=occlusion", f"images={tmp_path}", "target=7", f"output={tmp_path / 'out'}")
    assert [(row["image"], row["class"]) for row in rows_of(page.parent)] == [(str(tmp_path / "grey.png"), "7")]
    assert f"left out: {tmp_path / 'torn.png'}: " in capsys.readouterr().out
    key = next(
        row for row in csv.DictReader((digits / "splits.csv").read_text().splitlines()) if row["split"] == "test"
    )["file"]
    page = explain(f"run={digits}", "what=occlusion", f"images={key}", "target=true", f"output={tmp_path / 'out'}")
    assert [row["image"] for row in rows_of(page.parent)] == [key] and "true: " in page.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["what=gradcam"], "what=gradcam: must be one or more of .* \\(nearest: grad_cam"),
        (["what=cam", "window=3"], "window does nothing without what=occlusion"),
        (["images=nothing-here"], "images=nothing-here"),
        (["target=seven"], "target=seven|unknown target"),
        (["what=rollout"], "rollout: resnet20 has no attention"),
        (["what=grad_cam", "layer=stage9"], "layer=stage9: is no module of resnet20; nearest: stage"),
        (["what=occlusion", "window=99"], "window=99: the images have 8 pixels"),
    ],
)
def test_mistakes(digits: Path, words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        explain(f"run={digits}", *words)


def test_what_is_true_is_not_asked_of_files() -> None:
    with pytest.raises(UserError, match="nobody knows what is true of files"):
        explained_classes("true", ("a", "b"), torch.tensor([0]), None)


def test_every_choice_has_its_method() -> None:
    assert set(WHAT) == {*METHODS, *OTHERS}
    with pytest.raises(UserError, match="unknown key target_layers; write layer"):
        compose_jobs(["run=a", "target_layers=x"], False)


@installed
def test_a_class_of_a_mask_is_explained(tmp_path: Path, scenes: list[str]) -> None:
    train([*scenes, *QUIET, "trainer.max_epochs=1", "name=a", "callbacks.report=null"])
    run = folder_of(tmp_path, "a")
    page = explain(f"run={run}", "what=cam,grad_cam,occlusion,integrated_gradients", "each=1")
    assert {row["what"] for row in rows_of(page.parent)} == {"grad_cam", "occlusion", "integrated_gradients"}
    assert "cam: unet_tiny has outputs for each pixel" in page.read_text()
    names = json.loads((run / "summary.json").read_text()) and load_run(run).class_names
    page = explain(f"run={run}", "what=grad_cam", "each=1", f"target={names[3]}")
    assert {row["class"] for row in rows_of(page.parent)} == {names[3]}


def test_a_label_of_a_set_is_explained_by_a_net_without_places(tmp_path: Path, label_sets: list[str]) -> None:
    train([*label_sets, "name=a", "callbacks.report=null"])
    page = explain(f"run={folder_of(tmp_path, 'a')}", "each=1")
    assert {row["what"] for row in rows_of(page.parent)} == {"occlusion", "integrated_gradients"}
    assert "kernels: mlp does not begin with a convolution" in page.read_text()
    assert "grad_cam: mlp has no feature map with places" in page.read_text()


def test_telling_images_by_hand() -> None:
    right = torch.tensor([True, True, False, True, False, True])
    sure = torch.tensor([0.9, 0.4, 0.8, 0.99, 0.3, 0.5])
    found = [(3, KINDS[0]), (0, KINDS[0]), (1, KINDS[1]), (5, KINDS[1]), (2, KINDS[2]), (4, KINDS[2])]
    assert telling_images(right, sure, each=2) == found
    assert [index for index, _ in telling_images(right, sure, each=9)] == [3, 0, 5, 1, 2, 4], "none twice"


def test_a_masks_class_is_that_of_most_pixels_but_for_the_background() -> None:
    mask = torch.tensor([[[0, 0, 2], [0, 1, 2]], [[0, 0, 0], [255, 0, 0]]])
    truth = Segmentation.truth(mask, 3)
    assert torch.allclose(truth, torch.tensor([[0, 1 / 6, 2 / 6], [5 / 6, 0, 0]]))
    logits = torch.nn.functional.one_hot(mask.clamp_max(2), 3).movedim(-1, 1) * 5.0
    assert Segmentation.answers(logits)[0] == 2
    wanted = Segmentation.speaks_for(logits, torch.tensor([2, 1]))
    assert wanted[0, 2].tolist() == [[0, 0, 0.5], [0, 0, 0.5]] and not wanted[0, :2].any()
    assert torch.allclose(wanted[1, 1], torch.full((2, 3), 1 / 6)), "no pixel is of class 1: all count"
    expected = logits.softmax(dim=1)[0, 2, :, 2].mean()
    assert Segmentation.confidence(logits, torch.tensor([2, 1]))[0] == pytest.approx(float(expected))


def test_colours_say_for_and_against() -> None:
    maps = torch.tensor([[[1.0, -1.0], [0.0, 0.5]]])
    (picture,) = overlays(torch.full((1, 1, 4, 4), 128, dtype=torch.uint8), maps, 1.0)
    red, _, blue = picture.int()
    assert red[0, 0] > blue[0, 0] and blue[0, -1] > red[0, -1] and (picture[:, -1, 0] == picture[0, -1, 0]).all()
    assert red[0, 0] - blue[0, 0] > red[-1, -1] - blue[-1, -1] > 0
