"""A run's record: its states, its lock, its interval."""

import json
import logging
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from callbacks.signals import Stopped
from engine.run_folder import command_line, git_state, recording
from models.analysis.metrics import wilson_interval
from settings.errors import UserError
from settings.runs import ROOT


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_a_run_says_running_then_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recording(tmp_path, {"seed": 3}) as record:
        assert summary(tmp_path)["status"] == "running"
        record.update(metrics={"test/accuracy": 0.5, "test/loss": float("nan")})
    found = summary(tmp_path)
    assert (found["schema"], found["status"], found["exit_code"], found["seed"]) == (1, "finished", 0, 3)
    assert found["metrics"] == {"test/accuracy": 0.5, "test/loss": None}, "numbers are plain JSON numbers"
    assert capsys.readouterr().out.splitlines()[-1] == f"run: {tmp_path}"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Stopped(signal.SIGTERM), "interrupted", 143),
        (Stopped(signal.SIGINT), "interrupted", 130),
        (UserError("no such thing"), "failed", 2),
        (RuntimeError("a bug"), "failed", 1),
    ],
)
def test_every_way_out_is_recorded(tmp_path: Path, error: Exception, status: str, code: int) -> None:
    with pytest.raises(type(error)), recording(tmp_path, {}):
        raise error
    found = summary(tmp_path)
    assert (found["status"], found["exit_code"], found["reason"]) == (status, code, str(error))
    assert type(error).__name__ in (tmp_path / "train.log").read_text(), "the traceback is in the log"


def test_a_folder_has_one_writer_and_counts_its_resumes(tmp_path: Path) -> None:
    with recording(tmp_path, {}):
        with pytest.raises(UserError, match="in use by another process"), recording(tmp_path, {}):
            pass
        logging.getLogger().warning("still the first")
    with recording(tmp_path, {}):
        pass
    assert summary(tmp_path)["resumes"] == 1


def test_signal_handlers_are_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with recording(tmp_path, {}):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_is_wilsons(hits_of: tuple[int, int]) -> None:
    hits, count = hits_of
    reference = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits / count, count) == pytest.approx([reference.low, reference.high], abs=1e-9)


def test_command_line_can_be_pasted_into_a_shell() -> None:
    assert command_line(["data.root=/a b/c", "name=it's"]) == "python train.py 'data.root=/a b/c' 'name=it'\"'\"'s'"


def test_git_state_names_the_commit() -> None:
    state = git_state()
    if (ROOT / ".git").exists():
        assert state is not None and len(state["commit"]) == 40
    else:
        assert state is None
