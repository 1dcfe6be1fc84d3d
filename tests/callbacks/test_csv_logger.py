"""metrics.csv survives kills and resumes."""

import csv
from pathlib import Path

from callbacks.loggers.csv_logger import CsvLogger


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_figures_of_one_step_share_a_row_and_new_columns_keep_old_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = CsvLogger(run_folder=tmp_path)
    log.log_metrics({"epoch": 0, "val/loss": 0.5}, step=10)
    log.log_metrics({"epoch": 0, "train/loss": 0.25}, step=10)
    log.log_metrics({"epoch": 1, "lr": 0.1}, step=20)
    log.log_metrics({"val/loss": 0.125}, step=20)
    assert read(path) == [
        {"epoch": "0", "step": "10", "val/loss": "0.5", "train/loss": "0.25", "lr": ""},
        {"epoch": "1", "step": "20", "val/loss": "0.125", "train/loss": "", "lr": "0.1"},
    ]


def test_what_a_callback_logs_for_an_epoch_stands_in_the_epochs_own_row(tmp_path: Path) -> None:
    """Lightning hands it over after the epoch's figures, with a step that is one lower."""
    path = tmp_path / "metrics.csv"
    log = CsvLogger(run_folder=tmp_path)
    log.log_metrics({"epoch": 0, "val/loss": 0.5}, step=20)
    log.log_metrics({"epoch": 0, "val/mine": 0.25}, step=19)
    log.log_metrics({"epoch": 1, "val/loss": 0.125}, step=40)
    assert [tuple(row.values()) for row in read(path)] == [("0", "20", "0.5", "0.25"), ("1", "40", "0.125", "")]


def test_every_row_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = CsvLogger(run_folder=tmp_path)
    for step in range(5):
        log.log_metrics({"train/loss": step / 2}, step=step)
        assert [row["step"] for row in read(path)] == [str(done) for done in range(step + 1)]


def test_a_resume_drops_only_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = CsvLogger(run_folder=tmp_path)
    for step in (10, 20, 30):
        log.log_metrics({"train/loss": float(step)}, step=step)
    with path.open("a") as file:
        file.write(",1")  # the row of step 10,000, cut short by a kill
    resumed = CsvLogger(run_folder=tmp_path, keep_until=20)
    resumed.log_metrics({"train/loss": 31.0}, step=30)
    assert [(row["step"], row["train/loss"]) for row in read(path)] == [
        ("10", "10.0"),
        ("20", "20.0"),
        ("30", "31.0"),
    ]


def test_the_test_of_an_interrupted_run_is_made_anew(tmp_path: Path) -> None:
    """Byte for byte the file of a run that was not stopped, whether or not the test had a row of its own."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    log = CsvLogger(run_folder=whole)
    for step in (10, 20):
        log.log_metrics({"epoch": step // 10 - 1, "train/loss": float(step)}, step=step)
    log.log_metrics({"epoch": 1, "test/loss": 0.5}, step=20)
    for test_step in (10, 12):
        log = CsvLogger(run_folder=stopped)
        log.log_metrics({"epoch": 0, "train/loss": 10.0}, step=10)
        log.log_metrics({"epoch": 0, "test/loss": 0.75}, step=test_step)
        log = CsvLogger(run_folder=stopped, keep_until=12)
        log.log_metrics({"epoch": 1, "train/loss": 20.0}, step=20)
        log.log_metrics({"epoch": 1, "test/loss": 0.5}, step=20)
        assert (stopped / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_a_new_run_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    CsvLogger(run_folder=tmp_path).log_metrics({"train/loss": 1.0}, step=1)
    CsvLogger(run_folder=tmp_path).log_metrics({"train/loss": 2.0}, step=1)
    assert [row["train/loss"] for row in read(path)] == ["2.0"]
