"""A run that was stopped by a real signal at a known step goes on to the undisturbed run's bits; all in one process."""

import json
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.finite import NumericError
from callbacks.signals import Stopped
from models.tasks.classification import Classification
from settings.errors import NothingLeft, UserError
from train import train

SMALL = [
    "data=digits",
    "data.forbid=[]",
    "data.per_class=24",
    "data.batch_size=32",
    "augment=light",
    "model=cnn",
    "model.widths=[6,6]",
    "trainer.max_epochs=4",
    "callbacks=none",
    "test=false",
]
STEPS = 7  # 240 images in batches of 32

CASES = {
    "one_cycle": ["optimizer=adamw", "scheduler=one_cycle"],
    "ema": ["optimizer=sgd", "optimizer.lr=0.05", "scheduler=cosine", "callbacks.ema.decay=0.8"],
    "plateau": ["optimizer=adam", "scheduler=plateau", "scheduler.patience=0", "scheduler.warmup_epochs=0.5"],
    "accumulation": [
        "optimizer=sgd",
        "scheduler=step",
        "scheduler.every_epochs=1",
        "trainer.accumulate_grad_batches=2",
    ],
    "torchs_optimiser": ["optimizer=NAdam", "optimizer.weight_decay=0.01", "scheduler=exponential"],
    "timms_optimiser": ["optimizer=lion", "optimizer.lr=1e-3", "optimizer.weight_decay=0.1", "scheduler=cosine"],
    "augmentation": ["augment=strong", "data.balance=oversample", "loss.class_weights=[1,1,1,1,1,1,1,1,1,3]"],
    "fitted_filters": [
        *("model=airbench", "model.widths=[4,4,6]", "optimizer=sgd", "optimizer.lr=0.05", "optimizer.nesterov=true"),
        *("scheduler=linear", "scheduler.warmup_epochs=0.5"),
    ],
    "adversarial_erasing": ["augment.adversarial_erasing.p=0.7"],
    "sparse_validation": [
        "optimizer=adam",
        "scheduler=plateau",
        "scheduler.patience=0",
        "trainer.check_val_every_n_epoch=2",
        "callbacks.early_stopping.patience=1",
    ],
    "inner_validation": ["trainer.val_check_interval=4", "callbacks.early_stopping.patience=1"],
    "early_stopping": [
        "optimizer=sgd",
        "optimizer.lr=1e-6",
        "callbacks.early_stopping.patience=2",
        "trainer.max_epochs=9",
    ],
}


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Send a signal to this process from inside the given training batch (counted over the run)."""
    original = Classification.training_step

    def arm(batch: int, signum: int = signal.SIGTERM) -> None:
        seen = 0

        def step(self: Any, *arguments: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == batch:
                os.kill(os.getpid(), signum)
            return original(self, *arguments)

        monkeypatch.setattr(Classification, "training_step", step)

    yield arm
    monkeypatch.setattr(Classification, "training_step", original)


def last(runs: Path, name: str) -> dict[str, Any]:
    (path,) = runs.glob(f"*/{name}/checkpoints/last.ckpt")
    return torch.load(path, weights_only=True)


def summary(runs: Path, name: str) -> dict[str, Any]:
    (path,) = runs.glob(f"*/{name}/summary.json")
    return json.loads(path.read_text())


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def assert_same_end(runs: Path, one: str, other: str) -> None:
    first, second = last(runs, one), last(runs, other)
    for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
        assert same(first.get(key), second.get(key)), key
    assert (first["epoch"], first["global_step"]) == (second["epoch"], second["global_step"])
    best = "BestCheckpoint", "Patience"
    for key, state in first["callbacks"].items():
        if key.startswith(best):
            assert same(state, second["callbacks"][key]), key


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of runs in which a case was trained without a stop, under its name."""
    runs = tmp_path_factory.mktemp("undisturbed")

    @cache
    def trained(case: str) -> Path:
        train([*SMALL, *CASES[case], f"paths.runs={runs}", f"name={case}"])
        return runs

    return trained


@pytest.mark.parametrize("batch", [1, STEPS + 3, 2 * STEPS], ids=["first-step", "mid-epoch", "epoch-end"])
@pytest.mark.parametrize("case", list(CASES))
def test_interrupted_equals_undisturbed(
    case: str, batch: int, undisturbed: Callable[[str], Path], stop_at: Any
) -> None:
    runs, cut = undisturbed(case), f"{case}-{batch}"
    overrides = [*SMALL, *CASES[case], f"paths.runs={runs}", f"name={cut}", "resume=auto"]
    stop_at(batch)
    with pytest.raises(Stopped) as stopped:
        train(overrides)
    assert stopped.value.exit_code == 143
    assert summary(runs, cut)["status"] == "interrupted"
    train(overrides)
    assert_same_end(runs, case, cut)
    assert summary(runs, cut)["resumes"] == 1
    one, other = (next(runs.glob(f"*/{name}/metrics.csv")).read_text() for name in (case, cut))
    assert one == other


def test_a_stop_between_a_validation_and_the_epoch_s_end_keeps_its_figures(
    undisturbed: Callable[[str], Path], stop_at: Any
) -> None:
    test_interrupted_equals_undisturbed("inner_validation", STEPS + 5, undisturbed, stop_at)


def test_negative_control_another_seed_after_the_stop_is_noticed(tmp_path: Path, stop_at: Any) -> None:
    overrides = [*SMALL, *CASES["one_cycle"], f"paths.runs={tmp_path}"]
    train([*overrides, "name=whole"])
    stop_at(STEPS + 3)
    with pytest.raises(Stopped):
        train([*overrides, "name=cut", "resume=auto"])
    train([*overrides, "name=cut", "resume=auto", "seed=1", "resume_allow=[seed]"])
    with pytest.raises(AssertionError, match="state_dict"):
        assert_same_end(tmp_path, "whole", "cut")


def test_ctrl_c_once_tests_what_was_learnt(tmp_path: Path, stop_at: Any) -> None:
    stop_at(2 * STEPS + 2, signal.SIGINT)
    with pytest.raises(Stopped) as stopped:
        train([*SMALL, "test=true", f"paths.runs={tmp_path}", "name=cut"])
    assert stopped.value.exit_code == 130
    found = summary(tmp_path, "cut")
    assert found["status"] == "interrupted" and found["exit_code"] == 130
    assert 0 < found["metrics"]["test/accuracy"] <= 1
    train(["resume=cut", f"paths.runs={tmp_path}"])  # the test of then leaves nothing behind
    train([*SMALL, "test=true", f"paths.runs={tmp_path}", "name=whole"])
    one, other = (next(tmp_path.glob(f"*/{name}/metrics.csv")).read_text() for name in ("whole", "cut"))
    assert one == other


def test_more_steps_end_as_a_run_of_that_many(tmp_path: Path) -> None:
    """`trainer.max_steps` ended it within an epoch, which goes on where it was."""
    overrides = [*SMALL, "scheduler=constant", f"paths.runs={tmp_path}"]
    train([*overrides, "name=whole", f"trainer.max_steps={STEPS + 5}"])
    train([*overrides, "name=cut", "trainer.max_steps=3"])
    train(["resume=cut", f"paths.runs={tmp_path}", f"trainer.max_steps={STEPS + 5}"])
    assert_same_end(tmp_path, "whole", "cut")


def test_a_loss_that_is_no_number_ends_the_run_and_is_never_saved(tmp_path: Path) -> None:
    with pytest.raises(NumericError) as error:
        train([*SMALL, "optimizer=sgd", "optimizer.lr=1e30", f"paths.runs={tmp_path}", "name=nan"])
    assert error.value.exit_code == 5
    assert summary(tmp_path, "nan")["status"] == "failed"
    for path in tmp_path.glob("*/nan/checkpoints/*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.isfinite(weight).all() for weight in weights.values() if weight.is_floating_point())


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(tmp_path: Path, capsys: Any) -> None:
    overrides = [*SMALL, *CASES["one_cycle"], f"paths.runs={tmp_path}"]
    train([*overrides, "name=whole"])
    train([*overrides, "name=cut"])
    (path,) = tmp_path.glob("*/cut/checkpoints/last.ckpt")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    train([*overrides, "name=cut", "resume=auto"])
    assert "damaged" in capsys.readouterr().out
    assert_same_end(tmp_path, "whole", "cut")


def test_other_data_under_the_same_run_is_refused(tmp_path: Path) -> None:
    overrides = [*SMALL, f"paths.runs={tmp_path}", "name=cut", "trainer.max_epochs=1"]
    train(overrides)
    (path,) = tmp_path.glob("*/cut/checkpoints/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["lightbox"]["class_names"] = checkpoint["lightbox"]["class_names"][::-1]
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r"10 classes apart.* in another order"):
        train([*overrides, "resume=auto"])


def test_resume_best_goes_on_with_the_history_of_its_parent(tmp_path: Path) -> None:
    overrides = [*SMALL, *CASES["plateau"], f"paths.runs={tmp_path}"]
    train([*overrides, "name=whole", "trainer.max_epochs=6"])
    train([*overrides, "name=parent"])
    train(["resume=best", f"paths.runs={tmp_path}", "name=child", "trainer.max_epochs=6"])
    assert_same_end(tmp_path, "whole", "child")
    whole, child = summary(tmp_path, "whole"), summary(tmp_path, "child")
    assert Path(child["parent"]).name == "parent"
    for key in ("metrics", "best_epoch", "epochs", "steps"):
        assert child[key] == whole[key], key
    one, other = (next(tmp_path.glob(f"*/{name}/metrics.csv")).read_text() for name in ("whole", "child"))
    assert one == other


def test_resume_best_keeps_a_best_that_is_not_beaten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    still = ["model=softmax", "optimizer=sgd", "optimizer.lr=1e-30", "callbacks.early_stopping.patience=2"]
    runs = f"paths.runs={tmp_path}"
    train([*(one for one in SMALL if not one.startswith(("model", "test="))), *still, runs, "name=parent"])
    parent = summary(tmp_path, "parent")
    assert (parent["best_epoch"], parent["epochs"]) == (0, 3)
    with monkeypatch.context() as broken, pytest.raises(RuntimeError):
        broken.setattr(Classification, "training_step", lambda *_: (_ for _ in ()).throw(RuntimeError("power cut")))
        train(["resume=best", runs, "name=child"])
    train(["resume=child", runs])  # it had saved nothing of its own
    child = summary(tmp_path, "child")
    assert Path(child["parent"]).name == "parent" and child["resumes"] == 1
    for key in ("metrics", "best_epoch", "epochs", "steps", "test/accuracy_interval", "status"):
        assert child[key] == parent[key], key
    one, other = (next(tmp_path.glob(f"*/{name}/checkpoints/best.ckpt")) for name in ("parent", "child"))
    assert one.read_bytes() == other.read_bytes()
    assert_same_end(tmp_path, "parent", "child")


@pytest.mark.parametrize("key", ["trainer.max_epochs", "trainer.max_steps"])
def test_what_a_run_that_is_over_advises_is_taken(key: str, tmp_path: Path) -> None:
    """Of the default schedule, too, which was shaped for the length."""
    runs = f"paths.runs={tmp_path}"
    train([*SMALL, "scheduler=one_cycle", f"{key}=1", runs, "name=whole"])
    with pytest.raises(NothingLeft, match=rf"raise {key}, and add scheduler.restart=true: one_cycle was shaped for"):
        train(["resume=whole", runs])
    train(["resume=whole", runs, f"{key}=2", "scheduler.restart=true"])
    assert summary(tmp_path, "whole")["epochs" if key.endswith("epochs") else "steps"] == 2


@pytest.mark.parametrize(
    ("limit", "said", "more"),
    [
        ("trainer.max_epochs=1", r"epoch 1 of 1.*raise trainer.max_epochs", ["trainer.max_epochs=2"]),
        ("trainer.max_steps=9", r"step 9 of 9.*raise trainer.max_steps", ["trainer.max_steps=11"]),
        ("trainer.max_time={seconds: 0.01}", "is over; .*raise trainer.max_time", ["trainer.max_time={seconds: 99}"]),
    ],
)
def test_a_run_that_is_over_is_not_run_again(limit: str, said: str, more: list[str], tmp_path: Path) -> None:
    overrides = [*SMALL, limit, "scheduler=constant", f"paths.runs={tmp_path}", "name=whole", "resume=auto"]
    train(overrides)
    steps = summary(tmp_path, "whole")["steps"]
    with pytest.raises(NothingLeft, match=said):
        train(overrides)
    train([*overrides, *more])
    assert summary(tmp_path, "whole")["steps"] > steps


def test_a_run_that_stopped_early_is_over(tmp_path: Path) -> None:
    overrides = [*SMALL, *CASES["early_stopping"], f"paths.runs={tmp_path}", "name=whole", "resume=auto"]
    train(overrides)
    with pytest.raises(NothingLeft, match=r"epoch \d of 9, stopped early; nothing is left to train: resume=best"):
        train(overrides)
