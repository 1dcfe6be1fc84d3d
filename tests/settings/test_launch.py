import errno
from typing import Any

import pytest
import yaml

from settings.commands.launch import allow_open_files, launch
from settings.errors import NothingLeft, UserError, nearest, open_files_error, shorten, unknown


def run_nothing(config: Any) -> None:
    return None


def test_a_run_gets_its_configuration() -> None:
    seen = []
    assert launch(seen.append, ["seed=3", "name=a b"]) == 0
    assert (seen[0].seed, seen[0].name, seen[0].command) == (3, "a b", ["seed=3", "name=a b"])


def test_help_and_the_resolved_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(run_nothing, ["--help"]) == 0
    assert "model" in capsys.readouterr().out
    assert launch(run_nothing, ["--cfg", "job", "seed=3"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 3


class StorageFull(RuntimeError):
    exit_code = 4


@pytest.mark.parametrize(
    "error, code, traceback",
    [
        (UserError("data: not there"), 2, False),
        (StorageFull("disk is full"), 4, False),
        (KeyError("bug"), 1, True),
    ],
)
def test_exit_codes(error: Exception, code: int, traceback: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: Any) -> None:
        raise error

    assert launch(run, []) == code
    said = capsys.readouterr().err
    assert ("Traceback" in said) is traceback
    assert str(error) in said


def test_a_traceback_is_shown_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: Any) -> None:
        raise UserError("data: not there")

    launch(run, ["traceback=true"])
    assert "Traceback" in capsys.readouterr().err
    launch(run_nothing, ["traceback=true", "epochs=3"])
    assert "Traceback" in capsys.readouterr().err


def test_a_grid_goes_on_after_a_failed_job_and_keeps_its_code() -> None:
    seen = []

    def run(config: Any) -> None:
        seen.append(config.seed)
        if config.seed == 1:
            raise UserError("first")
        if config.seed == 2:
            raise KeyError("second")

    assert launch(run, ["-m", "seed=0,1,2,3"]) == 2
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize(("over", "code"), [(1, 0), (2, 0), (3, 2)])
def test_jobs_of_a_grid_that_are_over_are_passed_over_but_not_all(over: int, code: int, capsys: Any) -> None:
    def run(config: Any) -> None:
        if config.seed < over:
            raise NothingLeft("nothing is left to train")

    assert launch(run, ["-m", "seed=0,1,2"]) == code
    assert capsys.readouterr().err.count("nothing is left to train") == over


def test_no_job_of_a_grid_starts_before_all_are_checked() -> None:
    seen = []
    assert launch(seen.append, ["--multirun", "optimizer.lr=0.1,0.01,-1"]) == 2
    assert seen == []


def test_nearest_names() -> None:
    assert nearest("VGG166", ["vgg16", "resnet18", "vgg19"]) == ["vgg16", "vgg19"]
    assert nearest("res", ["resnet18", "mlp"]) == ["resnet18"]
    assert nearest("xyz", ["resnet18"]) == []
    assert unknown("model", "vgg166", ["vgg16"]) == "unknown model 'vgg166'; nearest: vgg16"
    assert unknown("model", "x", ["vgg16"]) == "unknown model 'x'; there is: vgg16"
    assert len(shorten([str(index) for index in range(20)])) == 12


@pytest.mark.parametrize("fresh", [True, False])
def test_modules_load_without_the_collector_in_a_fresh_process_alone(
    fresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gc
    import sys

    from settings.commands.launch import without_collector

    monkeypatch.setitem(sys.modules, "torch", sys)
    if fresh:
        monkeypatch.delitem(sys.modules, "torch")
    before = gc.get_freeze_count()
    try:
        with pytest.raises(ImportError), without_collector():
            assert gc.isenabled() is not fresh
            raise ImportError
        assert gc.isenabled()
        assert (gc.get_freeze_count() > before) is fresh, "modules are left out of later looks"
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files", "x.png"),
        RuntimeError("unable to open shared memory object </torch_1> in read-write mode: Too many open files (24)"),
        RuntimeError("received 0 items of ancdata"),
        OSError("Caught OSError in DataLoader worker process 0. [Errno 24] Too many open files"),
    ],
)
def test_too_many_open_files_are_the_systems_limit(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(config: Any) -> None:
        raise error

    assert launch(fail, []) == 2
    assert "ulimit -n 4096), or take data.num_workers=0" in capsys.readouterr().err
    assert open_files_error(ValueError("Too many open files")) is None
    assert open_files_error(FileNotFoundError(errno.ENOENT, "no")) is None


def test_the_limit_of_open_files_is_used_whole() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("group", ["optimizer", "scheduler"])
def test_an_unknown_key_is_not_suggested_from_another(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(run_nothing, [f"{group}.foo=1", f"{group}.foot=2"]) == 2
    said = capsys.readouterr().err
    assert f"unknown key {group}.foo;" in said and f"unknown key {group}.foot;" in said
    assert f"nearest: {group}.foo" not in said and "foot, " not in said and ", foo" not in said.replace(", foot", "")
