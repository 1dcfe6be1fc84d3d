"""Which run is meant: every script and `load_run` take the same words for the same run."""

import json
from pathlib import Path

import pytest

from models.load import find_checkpoint
from settings import run_names
from settings.errors import UserError
from settings.paths import ROOT
from settings.run_names import checkpoint_of, find_run, find_runs, resumed_folder, run_of, runs_folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_names, "ROOT", tmp_path)
    names = ("digits-cnn/first", "digits-cnn/odd, one [x]", "digits-mlp/first", "digits-mlp/second", "alone/only")
    for started, name in enumerate(names):
        folder = tmp_path / "runs" / name / "checkpoints"
        folder.mkdir(parents=True)
        for file in ("best.ckpt", "last.ckpt"):
            (folder / file).write_text("")
        (folder.parent / "config.yaml").write_text("")
        (folder.parent / "summary.json").write_text(json.dumps({"started": float(started)}))
    return tmp_path / "runs"


def by_train(word, runs):
    return resumed_folder(resume=word, name=None, runs=runs, kind="none")


def by_evaluate(word, runs):
    from settings.commands import evaluate

    (job,) = evaluate.compose_jobs([f"run={word}", f"paths.runs={runs}"], multirun=False)
    (path,) = job.checkpoints
    return run_of(path)


def by_predict(word, runs):
    from settings.commands import predict

    (job,) = predict.compose_jobs([f"run={word}", "images=photos", f"paths.runs={runs}"], multirun=False)
    return run_of(find_run(job.run, job.runs))


def by_compare(word, runs):
    from reports.comparison.runs import find_folders
    from settings.commands import compare

    (job,) = compare.compose_jobs([word, f"paths.runs={runs}"], multirun=False)
    (folder,) = find_folders(job.wanted, job.runs)
    return folder


def by_load_run(word, runs):
    return run_of(find_checkpoint(word, runs=runs))


def several_by_evaluate(words, runs):
    from settings.commands import evaluate

    (job,) = evaluate.compose_jobs([f"run={','.join(words)}", f"paths.runs={runs}"], multirun=False)
    return job.checkpoints


def several_by_compare(words, runs):
    from reports.comparison.runs import find_folders

    return find_folders(words, runs)


def there(readers):
    """Those of the scripts that were not taken away; a function of none is always there."""
    return [
        one
        for one in readers
        if (script := one.__name__.rpartition("by_")[2]) == "load_run" or (ROOT / f"{script}.py").exists()
    ]


SCRIPTS = there((by_train, by_evaluate, by_predict, by_compare, by_load_run))
FORMS = {
    "second": "digits-mlp/second",
    "digits-mlp/first": "digits-mlp/first",
    "alone": "alone/only",
    "runs/alone/": "alone/only",
    "runs/digits-mlp/first/": "digits-mlp/first",
    "./runs/digits-mlp/second": "digits-mlp/second",
    "RUNS/digits-mlp/second": "digits-mlp/second",
    "odd, one [x]": "digits-cnn/odd, one [x]",
    "digits-cnn/odd, one [x]": "digits-cnn/odd, one [x]",
    "sec*": "digits-mlp/second",
    "digits-m*/s*": "digits-mlp/second",
    "runs/*/*d": "digits-mlp/second",
    "second,digits-mlp/second": "digits-mlp/second",
    "runs/digits-mlp/first/checkpoints/best.ckpt": "digits-mlp/first",
    "RUNS/digits-mlp/first/checkpoints/last.ckpt": "digits-mlp/first",
    "digits-mlp/first/checkpoints/last.ckpt": "digits-mlp/first",
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("word", FORMS)
def test_a_word_means_the_same_run_everywhere(word, script, runs):
    assert script(word.replace("RUNS", str(runs)), runs) == runs / FORMS[word]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("secnod", "nearest: second"),
        ("digits-mpl", "nearest: digits-mlp"),
        ("first", "2 runs have this name"),
        ("*.nothing", "matches no run folder and no checkpoint"),
        ("runs/digits-mlp/first/summary.json", "is no run folder and no checkpoint"),
        ("second,,alone", "a name is empty"),
    ],
)
def test_what_is_not_found_is_said_everywhere(word, said, script, runs):
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        script(word, runs)


def names(found, runs):
    return [path.relative_to(runs).as_posix() for path in found]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["second,digits-cnn/first, second"], ["digits-mlp/second", "digits-cnn/first"]),
        (["digits-*/first"], ["digits-cnn/first", "digits-mlp/first"]),
        (["digits-mlp"], ["digits-mlp/first", "digits-mlp/second"]),
        (["digits-m*", "alone"], ["digits-mlp/first", "digits-mlp/second", "alone/only"]),
        (["runs/*/f*,alone"], ["digits-cnn/first", "digits-mlp/first", "alone/only"]),
    ],
)
def test_several_runs(words, expected, runs):
    for reader in (find_runs, *there((several_by_evaluate, several_by_compare))):
        assert names(reader(words, runs), runs) == expected


def test_where_one_is_needed_an_experiment_is_its_newest_run_that_can_be_read(runs, capsys):
    assert find_run("digits-mlp", runs) == runs / "digits-mlp/second"
    said = capsys.readouterr().err
    assert said.startswith("digits-mlp holds 2 runs; the newest is taken: ") and "second" in said
    for file in (runs / "digits-mlp/second/checkpoints").iterdir():
        file.unlink()
    assert find_run("digits-mlp", runs) == runs / "digits-mlp/first"
    for several in ("*/first", "alone,second"):
        with pytest.raises(UserError, match="names 2 runs, and one is needed"):
            find_run(several, runs)


def test_all_that_is_wrong_is_said(runs):
    with pytest.raises(UserError) as refused:
        find_runs(["first,secnod", "*.nothing"], runs, key="")
    assert [one.partition(":")[0] for one in refused.value.messages] == ["first", "secnod", "*.nothing"]


def test_the_folder_of_a_checkpoint(runs, tmp_path):
    folder = runs / "digits-mlp/first"
    assert run_of(folder) == run_of(folder / "checkpoints/best.ckpt") == folder
    (tmp_path / "lone.ckpt").write_text("")
    assert run_of(tmp_path / "lone.ckpt") == tmp_path


def test_a_run_that_was_never_validated_has_its_last_checkpoint_taken_and_says_so(runs, capsys):
    folder = runs / "alone/only"
    assert checkpoint_of(folder).name == "best.ckpt" and capsys.readouterr().err == ""
    (folder / "checkpoints/best.ckpt").unlink()
    last = folder / "checkpoints/last.ckpt"
    assert checkpoint_of(folder) == last == find_checkpoint("alone", runs=runs)
    assert capsys.readouterr().err.splitlines()[0] == (
        f"{folder} has no best.ckpt: it has not been validated; last.ckpt is taken"
    )
    for reader in there((several_by_evaluate,)):
        assert reader(["only"], runs) == (last,)
    last.unlink()
    for reader in there((by_evaluate,)):
        with pytest.raises(UserError, match="only has no checkpoint"):
            reader("only", runs)


def test_the_folder_of_all_runs_is_the_configurations(tmp_path, monkeypatch):
    from settings.reading import files

    monkeypatch.chdir(tmp_path)
    assert runs_folder("mine") == tmp_path / "mine" and runs_folder("~/mine") == Path.home() / "mine"
    assert runs_folder() == run_names.ROOT / "runs"
    (tmp_path / "train.yaml").write_text("paths:\n  runs: /drive/runs\n")
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    assert runs_folder() == Path("/drive/runs")


@pytest.mark.parametrize("word", ["only", "alone/only", "runs/alone/only", "digits-mlp/first"])
def test_a_run_gives_its_weights_by_the_name_that_everything_else_takes(word, runs):
    from settings.reading.compose import compose

    config = compose(["model=resnet20", "transfer=full", f"model.weights={word}", f"paths.runs={runs}"])
    assert run_of(Path(config.model.weights)) == run_of(find_run(word, runs))
    config = compose(["model=resnet18", "transfer=full", "model.weights=IMAGENET1K_V1", f"paths.runs={runs}"])
    assert config.model.weights == "IMAGENET1K_V1"
