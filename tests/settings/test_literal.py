"""Paths and free text need the shell's quoting only."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settings.errors import UserError
from settings.reading.compose import compose, compose_jobs
from settings.schema.run_config import config_from_plain

AWKWARD = [
    *(
        "with space",
        "a=b",
        "a,b",
        "[a]",
        "{a: b}",
        "'quoted'",
        '"quoted"',
        "naïve café",
        "#hash",
        "a#b",
        "~tilde",
    ),
    *(
        "$HOME",
        "${oc.env:HOME}",
        "back\\slash",
        "2024",
        "1e3",
        "true",
        "a:b",
        "(x)",
        "range(1,3)",
        "*",
        "ß%&;|<>?!",
    ),
    *(
        " leading",
        "trailing ",
        "-dash",
        "+plus",
        "@at",
        "日本語",
        "null.",
        "a'b\"c",
        "choice(a,b)",
        "glob(*)",
    ),
]
FOLDER_NAMES = (
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=40)
    .filter(lambda text: "/" not in text and text.strip() and text not in (".", "..") and text.isprintable())
    .filter(lambda text: text.lower() != "null" and len(text.encode()) <= 200)
)  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD)
@pytest.mark.parametrize("grid", [False, True])
def test_awkward_text_arrives_as_it_is(text: str, grid: bool) -> None:
    overrides = [
        "logger=wandb",
        f"name={text}",
        f"data.root=/data/{text}/x",
        f"logger.notes={text}",
        f"paths.runs=/{text}",
    ]
    (config,) = compose_jobs(overrides, grid)
    assert config.name == text
    assert config.data.root == Path(f"/data/{text}/x")
    assert config.paths.runs == Path(f"/{text}")
    assert config.logger.to_plain()["notes"] == text
    no_report = ["callbacks.report=null"] if grid else []  # grids write none
    assert config.command == [*overrides, *no_report]


@settings(max_examples=60, deadline=None)
@given(FOLDER_NAMES)
def test_any_folder_name_survives_the_way_through_config_yaml(text: str) -> None:
    import yaml

    config = compose([f"name={text}", f"data.root=/{text}"])
    assert config.name == text
    again = config_from_plain(yaml.safe_load(config.to_yaml()))
    assert again.name == text
    assert again.data.root == Path(f"/{text}")


@pytest.mark.parametrize("name", ["a/b", "..", ".", " ", "a\nb", "a\x00b", "x" * 201, "é" * 101, "\udcff", "\t"])
def test_names_that_are_no_folder_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="name"):
        compose([f"name={name}"])


def test_null_is_none() -> None:
    config = compose(["logger=wandb", "name=null", "data.root=null", "logger.notes=null"])
    assert (config.name, config.data.root, config.logger.to_plain()["notes"]) == (None, None, None)


def test_relative_paths_start_where_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = compose(["data.root=photos", "paths.runs=./out"])
    assert config.data.root == tmp_path / "photos"
    assert config.paths.runs == tmp_path / "out"
    root = Path(__file__).resolve().parents[2]
    assert config.paths.data == root / "data"  # of train.yaml: the project's root
    assert config.to_plain()["paths"]["data"] == "data"  # so that a moved project still finds it


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compose(["data.root=~/photos"]).data.root == tmp_path / "photos"


def test_under_m_a_comma_in_text_is_no_grid_but_names_of_nets_are_swept(tmp_path: Path) -> None:
    configs = compose_jobs(["model=timm", "model.name=resnet18,vit_tiny_patch16_224", "data.root=/a,b"], True)
    assert [config.model.name for config in configs] == ["resnet18", "vit_tiny_patch16_224"]
    assert {config.data.root for config in configs} == {Path("/a,b")}


def test_a_file_of_weights_may_have_any_name(tmp_path: Path) -> None:
    file = tmp_path / "my net, v=2 [final].pth"
    file.write_bytes(b"")
    config = compose(["transfer=full", f"model.weights={file}"])
    assert config.model.weights == str(file)
