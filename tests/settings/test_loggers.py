"""Loggers by bare name, several at once: ours, Lightning's, a forker's one file; read from source."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import loggers as lightnings

from settings.errors import UserError
from settings.paths import ROOT
from settings.reading.compose import compose, compose_jobs
from settings.schema import loggers, signatures
from settings.schema.run_config import config_from_plain
from tests.settings.test_signatures import project  # noqa: F401

OWN = """
raise SystemExit("imported")
REQUIRES = {"no_such_package": "pip install no-such-package"}

class NoteBookLogger:
    def __init__(self, *, run_folder: Path, keep_until: int | None = None, share: Annotated[float, "0 < x <= 1"]): ...
"""


def refused(*line: str) -> str:
    with pytest.raises(UserError) as caught:
        compose(line)
    return str(caught.value)


def test_all_of_lightnings_are_known_or_have_something_in_their_place() -> None:
    classes = {name for name in loggers.lightnings() if name in lightnings.__all__}
    assert classes | set(loggers.INSTEAD) == {*lightnings.__all__, "NeptuneLogger"}
    assert not classes & set(loggers.INSTEAD)


def test_ours_come_before_lightnings() -> None:
    assert {"csv", "wandb", "tensorboard"} <= set(loggers.own())
    found = {name: loggers.find(name) for name in ("csv", "CSVLogger", "mlflow", "MLFlowLogger", "MlflowLogger")}
    assert found["csv"] == ("callbacks.loggers.csv_logger.CsvLogger", "own")
    assert found["CSVLogger"] == ("lightning.pytorch.loggers.CSVLogger", "lightning")
    assert found["mlflow"] == found["MLFlowLogger"] != found["MlflowLogger"] is None


WITH_FILES = [name for name in loggers.own() if name != "csv" and (ROOT / f"configs/logger/{name}.yaml").is_file()]
"""A fork's logger needs none."""


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_file_of_the_configuration_has_every_argument(name: str) -> None:
    content = yaml.safe_load((ROOT / f"configs/logger/{name}.yaml").read_text())
    assert list(content) == ["name", *loggers.arguments([name])]


def test_a_section_is_shared_by_the_loggers_that_are_named() -> None:
    config = compose(["logger=[wandb,tensorboard]", "logger.images=false", "logger.notes=a, b=[c]", "logger.tags=one"])
    wandb, tensorboard = config.logger.chosen()
    told = [wandb[key] for key in ("project", "notes", "tags", "images")]
    assert wandb["_target_"] == "callbacks.loggers.wandb_logger.wandb_logger"
    named = yaml.safe_load((ROOT / "configs/logger/wandb.yaml").read_text())["project"]  # a fork has its own
    assert told == [named, "a, b=[c]", ["one"], False]
    assert tensorboard == {"_target_": "callbacks.loggers.tensorboard_logger.TensorboardLogger", "images": False}
    again = config_from_plain(config.to_plain()).logger
    assert again.chosen() == config.logger.chosen() and again.name == ["wandb", "tensorboard"]


def test_what_a_run_stored_before_there_were_several_is_read() -> None:
    for path in (ROOT / "tests/fixtures").glob("runs_of_*/*/config.yaml"):
        assert config_from_plain(yaml.safe_load(path.read_text())).logger.names == ["csv"]


def test_several_make_a_grid_with_others() -> None:
    jobs = compose_jobs(["logger=[tensorboard,csv],csv", "seed=1"], multirun=True)
    assert [job.logger.names for job in jobs] == [["tensorboard", "csv"], ["csv"]]
    assert jobs[0].command[0] == "logger=[tensorboard,csv]"
    assert compose([jobs[0].command[0]]).logger == jobs[0].logger


def test_an_experiment_names_several(own_configs: Path) -> None:
    text = "# @package _global_\ndefaults:\n  - override /logger: [csv, tensorboard]\nlogger:\n  images: false\n"
    (own_configs / "experiment/both.yaml").write_text(text)
    config = compose(["experiment=both"])
    assert (config.logger.names, config.logger.chosen()[1]["images"]) == (["csv", "tensorboard"], False)
    assert compose(["experiment=both", "logger=csv", "~logger.images"]).logger.names == ["csv"]
    (own_configs / "experiment/both.yaml").write_text(text.replace("/logger", "/model"))
    assert "must be GROUP: CHOICE" in refused("experiment=both")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("logger=mlflow", 'logger=mlflow: the package mlflow is not installed: pip install "mlflow'),
        ("logger=CometLogger", 'the package comet_ml is not installed: pip install "comet-ml'),
        ("logger=lit", 'the package litlogger is not installed: pip install "litlogger'),
        ("logger=neptune", "use logger=wandb (its service has ended)"),
        ("logger=WandbLogger", "use logger=wandb"),
        ("logger=TensorBoardLogger", "use logger=tensorboard"),
        ("logger=Logger", "a class of your own"),
        ("logger=CSVLoger", "nearest: CSVLogger"),
        ("logger=[wandb,tensorbord]", "nearest: tensorboard"),
        ("logger=[wandb,wandb]", "wandb stands twice"),
        ("logger=[]", "choose one of csv, tensorboard, wandb"),
        ("logger.name=[wandb,csv]", "write logger=[wandb,csv]"),
        ("logger=[wandb,tensorboard] logger.image=false", "nearest: logger.images"),
        ("logger=[wandb,tensorboard] logger.images=3", "logger.images=3: must be true or false"),
        ("logger=wandb logger.project=", "must not be empty"),
        ("logger=wandb logger.run_id=a", "unknown key logger.run_id"),
        ("logger=comet logger.api_key=abc", "takes it from the environment"),
        ("logger=comet logger.mode=gt", "nearest: get"),
        ("logger=mlflow logger.log_model=true", "unknown key logger.log_model"),
        ("logger=CSVLogger logger.flush_logs_every_n_steps=a", "must be a whole number"),
    ],
)
def test_what_cannot_be_is_refused_by_name(line: str, words: str) -> None:
    assert words in refused(*line.split())


def test_a_path_of_lightnings_starts_at_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (section,) = compose(["logger=CSVLogger", "logger.save_dir=my logs, here"]).logger.chosen()
    assert section["save_dir"] == tmp_path / "my logs, here"


def test_a_forkers_logger_is_one_file_that_is_read_and_not_imported(project: Path) -> None:  # noqa: F811
    (project / "callbacks" / "loggers" / "note_book_logger.py").write_text(OWN)
    found = loggers.find("note_book")
    assert found == ("callbacks.loggers.note_book_logger.NoteBookLogger", "own")
    assert list(loggers.arguments(["note_book"])) == ["share"]
    assert list(loggers.missing(found)) == ["the package no_such_package is not installed: pip install no-such-package"]
    (chosen,) = loggers.chosen(["note_book"], {"share": 0.5, "other": 1})
    assert chosen == {"_target_": found.target, "share": 0.5}
    signatures._adapter.cache_clear()


def test_naming_one_imports_nothing() -> None:
    code = (
        "import sys; from settings.reading.compose import compose as c; c(['logger=[wandb,tensorboard,CSVLogger]']); "
    )
    code += "sys.exit(bool({'lightning', 'wandb', 'tensorboard'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
