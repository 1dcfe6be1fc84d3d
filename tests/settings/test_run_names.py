"""`run=` takes folders, names, checkpoint files, lists and globs, and says what it did not find."""

import pytest

from settings.errors import UserError
from settings.run_names import find_runs, run_of


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("digits-mlp/first", "digits-mlp/second", "digits-cnn/first", "digits-cnn/odd, one [x]"):
        folder = tmp_path / "runs" / name / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "best.ckpt").write_text("")
        (folder.parent / "summary.json").write_text("{}")
    return tmp_path / "runs"


def names(found, runs):
    return [path.relative_to(runs).as_posix() for path in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("second", ["digits-mlp/second"]),
        ("digits-mlp/first", ["digits-mlp/first"]),
        ("runs/digits-mlp/first/", ["digits-mlp/first"]),
        ("second,digits-cnn/first, second", ["digits-mlp/second", "digits-cnn/first"]),
        ("digits-*/first", ["digits-cnn/first", "digits-mlp/first"]),
        ("sec*", ["digits-mlp/second"]),
        ("runs/*/*d", ["digits-mlp/second"]),
        ("digits-cnn/odd, one [x]", None),
        ("runs/digits-cnn/odd, one [x]", ["digits-cnn/odd, one [x]"]),
        ("runs/digits-mlp/first/checkpoints/best.ckpt", ["digits-mlp/first/checkpoints/best.ckpt"]),
    ],
)
def test_what_is_found(text, expected, runs):
    if expected is None:  # a list, as there is no such path from here
        with pytest.raises(UserError):
            find_runs(text, runs)
    else:
        assert names(find_runs(text, runs), runs) == expected
        assert names(find_runs(str(runs.parent / text), runs), runs) == expected if text.startswith("runs") else True


def test_all_that_is_wrong_is_said(runs):
    with pytest.raises(UserError) as refused:
        find_runs("first,secnod,digits-mlp,*.nothing,runs/digits-mlp/first/summary.json", runs)
    said = "\n".join(refused.value.messages)
    for part in ("2 runs have this name", "nearest: second", "run='digits-mlp/*'", "matches no run", "no checkpoint"):
        assert part in said
    assert len(refused.value.messages) == 5


def test_the_folder_of_a_checkpoint(runs, tmp_path):
    folder = runs / "digits-mlp/first"
    assert run_of(folder) == run_of(folder / "checkpoints/best.ckpt") == folder
    (tmp_path / "alone.ckpt").write_text("")
    assert run_of(tmp_path / "alone.ckpt") == tmp_path
