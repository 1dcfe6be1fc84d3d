"""A forker's own classes: one file and one YAML, checked by the signature and never imported."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings.errors import UserError
from settings.reading.compose import compose
from settings.schema import names, signatures

DATA = """
raise SystemExit("imported")
from pathlib import Path
from typing import Literal, Optional

class Base:
    def __init__(self, *, root: Path | None = None, data_dir: Path = Path("data"), size: int = 3) -> None: ...

class Cells(Base):
    def __init__(
        self, *, root=None, data_dir=None, stain: str, folder: Path | None = None, depth: int = 1,
        scale: float = 1.0,
        kind: Literal["a", "b"] = "a", channels: list[int] = (), old: Optional[bool] = None, free=None,
        part: Annotated[float, "0 <= x < 1"] = 0.5, sizes: list[Annotated[int, "x >= 2"]] | None = None,
    ): ...

class Plain(Base):
    image_sizes: tuple[int, ...] | None = (28, 32)

class Anything:
    def __init__(self, **anything): ...
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_configs: Path) -> Iterator[Path]:
    for folder in ("datamodules", "callbacks", "models"):
        shutil.copytree(signatures.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("datamodules", "callbacks"):
        (tmp_path / folder / "cells.py").write_text(DATA)
    names.operations()  # read from the real project
    monkeypatch.setattr(signatures, "ROOT", tmp_path)
    signatures._ancestry.cache_clear()
    signatures._adapter.cache_clear()
    text = (own_configs / "data" / "digits.yaml").read_text()
    text = text.replace("datamodules.digits.Digits", "datamodules.cells.Cells")
    (own_configs / "data" / "cells.yaml").write_text(f"{text}stain: h&e\n")
    yield tmp_path
    signatures._ancestry.cache_clear()
    signatures._adapter.cache_clear()


def test_arguments_of_an_own_data_set_arrive_converted(project: Path) -> None:
    config = compose(["data=cells", "data.folder=/a, b [c]", "data.stain=x=1,2", "data.scale=2", "data.channels=[1,2]"])
    assert config.data.target == "datamodules.cells.Cells"
    assert config.data.arguments == {
        "stain": "x=1,2",
        "folder": Path("/a, b [c]"),
        "scale": 2.0,
        "channels": [1, 2],
    }
    assert config.to_plain()["data"]["folder"] == "/a, b [c]"


@pytest.mark.parametrize(
    "override, words",
    [
        ("data.stian=a", "unknown key data.stian; nearest: data.stain"),
        ("data.depth=deep", "data.depth=deep: must be a whole number"),
        ("data.depth=true", "data.depth=true: must be a whole number"),
        ("data.kind=c", "data.kind=c: must be one of a, b"),
        ("data.channels=[a]", "data.channels.0=a: must be a whole number"),
        ("data.old=3", "data.old=3: must be true or false"),
        ("data.stain=null", "data.stain=null: must be text"),
        ("~data.stain", "data.stain is needed"),
        ("data.batch_siz=3", "nearest: data.batch_size"),
        ("data._target_=datamodules.cell.Cells", "nearest: cells"),
        ("data._target_=datamodules.cells.Cell", "nearest: Cells"),
        ("data.data_dir=/x", "unknown key data.data_dir"),
    ],
)
def test_wrong_arguments_of_an_own_data_set_are_named(project: Path, override: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(["data=cells", override])
    assert words in str(caught.value)


def test_own_callbacks(project: Path) -> None:
    lines = [
        "callbacks.mine._target_=callbacks.cells.Cells",
        "callbacks.mine.stain=a b",
        "callbacks.mine.folder=/x",
    ]
    section = compose(lines).callbacks.to_plain()["mine"]
    assert section == {"_target_": "callbacks.cells.Cells", "stain": "a b", "folder": Path("/x")}
    with pytest.raises(UserError, match=r"nearest: callbacks\.mine\.depth"):
        compose([*lines, "callbacks.mine.dept=1"])


def test_signatures_are_read_through_base_classes_and_files(project: Path) -> None:
    (project / "datamodules" / "more.py").write_text("from datamodules.cells import Plain\nclass More(Plain): pass\n")
    found = signatures.parameters("datamodules.more.More")
    assert found is not None and set(found) == {"root", "data_dir", "size"}
    assert signatures.class_value("datamodules.more.More", "image_sizes") == (28, 32)
    assert signatures.parameters("datamodules.cells.Anything") is None
    assert list(signatures.mistakes("datamodules.cells.Anything", {"x": 1})) == []


def test_parameters_know_text_from_paths() -> None:
    found = signatures.parameters("datamodules.base.ImageDataModule")
    assert found is not None
    assert found["root"].is_path and found["root"].is_text and not found["root"].required


def test_a_file_that_is_no_python_is_named(project: Path) -> None:
    (project / "datamodules" / "broken.py").write_text("class (:\n")
    with pytest.raises(UserError, match=r"broken\.py is not valid Python"):
        compose(["data=cells", "data._target_=datamodules.broken.Data"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.part=1.0", "data.part=1.0: must be at least 0 and less than 1"),
        ("data.part=-0.1", "data.part=-0.1: must be at least 0 and less than 1"),
        ("data.sizes=[2,1]", "data.sizes.1=1: must be at least 2"),
    ],
)
def test_ranges_stand_in_the_signature(project: Path, override: str, words: str) -> None:
    assert compose(["data=cells", "data.stain=h&e", "data.part=0", "data.sizes=[2,3]"]).data.arguments["part"] == 0
    with pytest.raises(UserError) as error:
        compose(["data=cells", "data.stain=h&e", override])
    assert words in str(error.value), error.value
