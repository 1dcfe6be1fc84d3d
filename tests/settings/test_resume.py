"""Going on with a run: its own configuration, overrides on top, a refusal that shows every difference."""

import json
from pathlib import Path

import pytest

from settings.errors import UserError
from settings.reading.compose import compose, compose_jobs


class Runs:
    """Run folders as an interrupted run leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def add(self, *overrides: str) -> Path:
        config = compose([*overrides, f"paths.runs={self.folder}"])
        self.count += 1
        run = self.folder / config.kind / (config.name or f"run{self.count}")
        (run / "checkpoints").mkdir(parents=True)
        for name in ("last.ckpt", "best.ckpt"):
            (run / "checkpoints" / name).write_bytes(b"")
        (run / "config.yaml").write_text(config.to_yaml())
        (run / "summary.json").write_text(json.dumps({"status": "interrupted", "started": self.count}))
        return run

    def compose(self, *overrides: str):
        return compose([*overrides, f"paths.runs={self.folder}"])

    def refusals(self, *overrides: str) -> list[str]:
        with pytest.raises(UserError) as caught:
            self.compose(*overrides)
        return list(caught.value.messages)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def test_auto_starts_anew_until_there_is_a_checkpoint(runs: Runs) -> None:
    line = ["name=a b", "resume=auto", "model=mlp", "optimizer=sgd", "optimizer.lr=0.05", "augment=light"]
    assert runs.compose(*line).run_folder is None
    folder = runs.add(*line)
    again = runs.compose(*line)  # the same line once more
    assert again.run_folder == folder
    assert again.optimizer.lr == 0.05


def test_last_takes_everything_from_the_newest_run(runs: Runs) -> None:
    runs.add("model=mlp", "seed=1")
    newest = runs.add("model=cnn", "seed=2", "optimizer=sgd", "data.batch_size=32")
    for word in ("last", "true"):
        config = runs.compose(f"resume={word}")
        assert config.run_folder == newest
        assert (config.model.name, config.seed, config.optimizer.name) == ("cnn", 2, "sgd")
        assert config.data.batch_size == 32
        assert config.resume == word


def test_a_folder_a_name_and_a_checkpoint_are_found(runs: Runs) -> None:
    folder = runs.add("model=mlp", "name=mine")
    for where in (folder, "mine", folder / "checkpoints" / "last.ckpt"):
        assert runs.compose(f"resume={where}").run_folder == folder


def test_what_changes_nothing_about_the_weights_is_free(runs: Runs) -> None:
    folder = runs.add("model=mlp", "scheduler=constant")
    config = runs.compose(
        *(
            "resume=last",
            "trainer.max_epochs=40",
            "data.num_workers=2",
            "logger=wandb",
            "callbacks.ema.decay=0.9",
        ),
        *("trainer.accelerator=cpu", "test=false", "traceback=true", "data.root=/elsewhere"),
    )
    assert config.run_folder == folder
    assert config.trainer.max_epochs == 40
    assert config.logger.name == "wandb"


def test_every_other_change_is_refused_with_both_values(runs: Runs) -> None:
    runs.add("model=mlp", "optimizer=sgd", "optimizer.lr=0.05")
    said = runs.refusals(
        "resume=last", "optimizer.lr=0.1", "seed=3", "data.batch_size=32", "trainer.precision=bf16-mixed"
    )
    assert len(said) == 4
    assert any("optimizer.lr" in one and "0.05" in one and "0.1" in one for one in said)
    assert any("trainer.precision" in one for one in said)
    assert all("resume_allow=[" in one for one in said)


def test_resume_allow_permits_a_key_or_a_section(runs: Runs) -> None:
    runs.add("model=mlp", "optimizer=sgd")
    assert runs.compose("resume=last", "optimizer.lr=0.3", "resume_allow=optimizer.lr").optimizer.lr == 0.3
    allowed = runs.compose("resume=last", "optimizer=adam", "seed=4", "resume_allow=[optimizer,seed]")
    assert (allowed.optimizer.name, allowed.seed) == ("adam", 4)


def test_a_group_takes_its_file_and_the_rest_stays(runs: Runs) -> None:
    runs.add("model=mlp", "model.dropout=0.2", "optimizer=sgd", "optimizer.lr=0.3")
    said = runs.refusals("resume=last", "optimizer=sgd")  # the file's rate is another one
    assert len(said) == 1 and "0.3" in said[0]
    config = runs.compose("resume=last", "model.dropout=0.2")  # a key of the stored net, not of the default one
    assert config.model.net_arguments()["dropout"] == 0.2


@pytest.mark.parametrize("scheduler", ["one_cycle", "cosine"])
def test_a_longer_run_under_a_shaped_schedule_needs_a_restart(runs: Runs, scheduler: str) -> None:
    runs.add("model=mlp", f"scheduler={scheduler}", "trainer.max_epochs=10")
    said = runs.refusals("resume=last", "trainer.max_epochs=20")
    assert len(said) == 1 and "scheduler.restart=true" in said[0] and "10" in said[0] and "20" in said[0]
    assert runs.compose("resume=last", "trainer.max_epochs=20", "scheduler.restart=true").scheduler.restart
    assert runs.compose("resume=last", "trainer.max_epochs=8").trainer.max_epochs == 8


@pytest.mark.parametrize("limit", ["trainer.max_epochs", "trainer.max_steps"])
def test_a_restart_is_agreed_to_once(runs: Runs, limit: str) -> None:
    """Neither what is stored, nor what an earlier version stored, lets a later resume pass."""
    folder = runs.add("model=mlp", "scheduler=cosine", f"{limit}=10")
    config = runs.compose(f"resume={folder}", f"{limit}=20", "scheduler.restart=true", "resume_allow=seed")
    assert config.scheduler.restart and config.resume_allow == ["seed"]
    for stored in (config.without_consents(), config):
        (folder / "config.yaml").write_text(stored.to_yaml())
        said = runs.refusals(f"resume={folder}", f"{limit}=40")
        assert (
            len(said) == 1 and said[0].startswith(f"command line: {limit}: 20 -> 40") and "scheduler.restart" in said[0]
        )
        assert runs.compose(f"resume={folder}").scheduler.restart is False
    plain = config.without_consents()
    assert (plain.scheduler.restart, plain.resume_allow) == (False, [])


def test_steps_may_be_raised_or_left_open_where_nothing_follows_them(runs: Runs) -> None:
    folder = runs.add("model=mlp", "scheduler=constant", "trainer.max_steps=10")
    assert runs.compose(f"resume={folder}", "trainer.max_steps=20").trainer.max_steps == 20
    assert runs.compose(f"resume={folder}", "trainer.max_steps=-1").trainer.max_steps == -1
    folder = runs.add("model=mlp", "scheduler=cosine", "trainer.max_steps=10")
    said = runs.refusals(f"resume={folder}", "trainer.max_steps=-1")
    assert len(said) == 1 and "trainer.max_steps: 10 -> -1 is longer than cosine was shaped for" in said[0]


def test_an_average_that_was_not_warmed_up_goes_on_so(runs: Runs) -> None:
    """Runs of before `callbacks.ema.warm_up` do not have the key."""
    folder = runs.add("model=mlp", "callbacks.ema.decay=0.9")
    assert runs.compose(f"resume={folder}").callbacks.ema.warm_up is True
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("    warm_up: true\n", ""))
    assert runs.compose(f"resume={folder}").callbacks.ema.warm_up is False
    assert runs.compose(f"resume={folder}", "callbacks.ema.warm_up=true").callbacks.ema.warm_up is True


def test_best_is_a_new_run_with_a_parent(runs: Runs) -> None:
    folder = runs.add("model=mlp", "name=parent")
    config = runs.compose("resume=best", "name=child")
    assert (config.run_folder, config.parent, config.name) == (None, folder, "child")
    assert config.model.name == "mlp"
    assert runs.compose("resume=best").name is None


def test_the_runs_of_a_grid_go_on_one_by_one(runs: Runs) -> None:
    line = ["model=mlp", "name=grid", "seed=0,1", "resume=auto", f"paths.runs={runs.folder}"]
    first, second = compose_jobs(line, True)
    folder = runs.add("model=mlp", "name=grid-1", "seed=1")
    first, second = compose_jobs(line, True)
    assert (first.run_folder, second.run_folder) == (None, folder)
    assert (first.name, second.name) == ("grid-0", "grid-1")


def test_an_experiment_takes_everything_from_the_new_composition(runs: Runs) -> None:
    folder = runs.add("experiment=digits_resnet20", "name=x")
    assert runs.compose("experiment=digits_resnet20", "name=x", "resume=auto").run_folder == folder
    said = runs.refusals("experiment=digits_resnet20", "name=x", "resume=auto", "seed=9")
    assert len(said) == 1 and said[0].startswith("command line: seed")


def test_mistakes_are_told_on_top_of_a_stored_run(runs: Runs) -> None:
    runs.add("model=mlp")
    said = runs.refusals("resume=last", "optimizer.lrr=1", "model.dropuot=0.1", "epochs=3")
    assert any("nearest: optimizer.lr" in one for one in said)
    assert any("nearest: model.dropout" in one for one in said)
    assert any("trainer.max_epochs" in one for one in said)


def test_a_damaged_configuration_is_named(runs: Runs) -> None:
    folder = runs.add("model=mlp")
    (folder / "config.yaml").write_text("seed: [1\n")
    assert "config.yaml" in runs.refusals("resume=last")[0]


def test_nothing_to_resume_is_said_with_the_other_mistakes(runs: Runs) -> None:
    said = runs.refusals("resume=last", "epochs=3")
    assert len(said) == 2 and any("resume=last" in one for one in said)
