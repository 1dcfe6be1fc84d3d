import inspect
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings.errors import UserError
from settings.reading import files
from settings.reading.compose import compose, compose_jobs
from settings.schema import loggers, loss_names, names, optimizers, schedules, sections, signatures
from settings.schema.run_config import NOT_TRAINER_ARGUMENTS, RunConfig, Trainer, config_from_plain, text_keys

ROOT = Path(__file__).resolve().parents[2]
CHOICES = [f"{group}={choice}" for group in files.groups() for choice in files.choices(group)]


def data_for(choice: str) -> list[str]:
    """Data of the task that a net or a loss is made for, where the default's does not fit it."""
    group, _, name = choice.partition("=")
    fits = {"model": names.nets(), "loss": loss_names.known()}
    if name not in fits.get(group, ()):
        return []
    dense = names.net_output(name) == "dense" if group == "model" else "labels" not in loss_names.targets(name)
    return ["data=fashion_scenes"] if dense else []


@pytest.mark.parametrize("choice", CHOICES)
def test_every_shipped_choice_is_valid_and_comes_back_from_config_yaml(choice: str) -> None:
    needs = {"data=folder": "data.root=x", "data=csv": "data.root=x"}
    more = [needs[choice]] if choice in needs else []
    if choice.startswith("transfer=") and choice != "transfer=scratch":
        more = ["transfer.allow_random=true"]
    config = compose([choice, *more, *data_for(choice)])
    assert config_from_plain(yaml.safe_load(config.to_yaml())).to_plain() == config.to_plain()


def test_the_defaults_of_the_schema_are_those_of_the_files() -> None:
    """So that one key of a section that a file leaves out, or sets to null, means what the file would say."""
    config = compose([])
    followed = {"task": config.task, "monitor": config.monitor, "monitor_mode": config.monitor_mode}
    fresh = RunConfig(data=config.data, model=config.model, **followed).to_plain()
    for group, target in (
        ("optimizer", optimizers.target("adamw")),
        ("scheduler", schedules.target("one_cycle")),
    ):  # the signature has the rest
        fresh[group] = {**signatures.defaults(target), **fresh[group]}
        fresh[group].pop("fused", None)
    assert config.to_plain() == fresh


@pytest.mark.parametrize("group", ["optimizer", "scheduler", "transfer", "logger", "trainer", "callbacks", "data"])
def test_every_knob_stands_in_its_file(group: str) -> None:
    schema = {
        "trainer": Trainer,
        "callbacks": sections.Callbacks,
        "transfer": sections.Transfer,
        "data": sections.Data,
        "optimizer": sections.Optimizer,
        "scheduler": sections.Scheduler,
        "logger": sections.Logger,
    }[group]
    for choice in files.choices(group):
        content = yaml.safe_load((files.FOLDER / group / f"{choice}.yaml").read_text())
        if group != "data":
            own = {
                "transfer": lambda name: signatures.names(names.transfer_modes()[name]),
                "optimizer": optimizers.arguments,
                "scheduler": schedules.arguments,
                "logger": lambda name: loggers.arguments([name]),
            }.get(group, lambda _: [])(content.get("name", ""))
            assert set(content) == {info.alias or name for name, info in schema.model_fields.items()} | set(own)
        else:
            assert {info.alias or name for name, info in schema.model_fields.items()} <= set(content)


def test_the_trainer_takes_every_plain_argument_of_lightnings() -> None:
    from lightning import Trainer as Lightnings

    theirs = set(inspect.signature(Lightnings.__init__).parameters) - {"self"}
    ours = set(Trainer.model_fields)
    assert ours - theirs == {"channels_last", "compile", "process_timeout"}
    assert theirs - ours == set(NOT_TRAINER_ARGUMENTS)
    Lightnings(**{**compose(["trainer.accelerator=cpu"]).trainer.lightning_arguments(), "logger": False})


def test_strategies_are_lightnings() -> None:
    from lightning.pytorch.strategies import StrategyRegistry

    from settings.schema.run_config import STRATEGIES

    assert set(STRATEGIES.__args__) - {"auto"} <= set(StrategyRegistry.available_strategies())


@pytest.mark.parametrize("mode", list(names.transfer_modes()))
def test_the_file_of_a_mode_holds_what_its_function_takes(mode: str) -> None:
    """With the function's own defaults, or those of the file where it wants others."""
    from models.transfer import MODES

    content = yaml.safe_load((files.FOLDER / "transfer" / f"{mode}.yaml").read_text())
    taken = {key for key, one in inspect.signature(MODES[mode]).parameters.items() if one.kind is one.KEYWORD_ONLY}
    assert set(content) == {"name", "allow_random"} | taken
    given = compose([f"transfer={mode}", "transfer.allow_random=true"]).transfer.arguments
    assert given == {key: content[key] for key in taken}


@pytest.mark.parametrize("name", [name for name in names.nets() if (files.FOLDER / f"model/{name}.yaml").is_file()])
def test_the_file_of_a_net_holds_what_its_name_stands_for(name: str) -> None:
    from models.build import own_class

    defaults = {
        key: list(one.default) if isinstance(one.default, tuple) else one.default
        for key, one in inspect.signature(own_class(name)).parameters.items()
        if key not in names.FILLED_IN_OWN_NETS
    }
    _, implied = names.nets()[name]
    assert compose([f"model={name}", *data_for(f"model={name}")]).model.net_arguments() == {**defaults, **implied}


def test_bare_names_find_own_then_torchvision_then_timm() -> None:
    found = {name: compose([f"model={name}"]).model.source for name in ("resnet56", "resnet18", "vit_tiny_patch16_224")}
    assert found == {"resnet56": "own", "resnet18": "torchvision", "vit_tiny_patch16_224": "timm"}
    tagged = compose(["model=vit_tiny_patch16_224.augreg_in21k"]).model
    assert (tagged.source, tagged.name) == ("timm", "vit_tiny_patch16_224.augreg_in21k")
    assert compose(["model=resnet56", "model.width=8"]).model.net_arguments() == {"width": 8}


def test_the_names_read_from_the_libraries_are_theirs() -> None:
    import torchvision

    theirs = set(torchvision.models.list_models(module=torchvision.models))
    assert names.library_nets("torchvision") == theirs
    assert len(names.library_nets("timm")) > 900


def test_numbers() -> None:
    config = compose(["optimizer.lr=1e-3", "optimizer.weight_decay=1", "scheduler=cosine", "scheduler.warmup_epochs=2"])
    assert config.optimizer.lr == 0.001
    assert config.optimizer.weight_decay == 1
    assert math.isclose(config.scheduler.warmup_epochs, 2)


def test_one_key_of_a_section_that_is_off_turns_it_on() -> None:
    assert compose([]).callbacks.ema is None
    ema = compose(["callbacks.ema.decay=0.99"]).callbacks.ema
    assert ema is not None and ema.model_dump() == {"decay": 0.99, "every_n_steps": 1, "start_step": 0, "warm_up": True}
    assert compose(["callbacks.ema=true"]).callbacks.ema is not None
    assert compose(["callbacks=none", "callbacks.learning_rate.every_n_steps=5"]).callbacks.learning_rate is not None


def test_recipes_are_changed_and_dropped_by_line() -> None:
    base = ["data=fashion_mnist", "augment=light"]
    assert compose(base).augment == {"random_crop": {"padding": 0.125}, "horizontal_flip": {"p": 0.5}}
    assert compose([*base, "augment.random_crop.padding=0.2"]).augment["random_crop"] == {"padding": 0.2}
    assert list(compose([*base, "augment.horizontal_flip=null"]).augment) == ["random_crop"]
    assert list(compose([*base, "~augment.random_crop"]).augment) == ["horizontal_flip"]


def test_a_forbidden_line_of_a_preset_is_dropped_and_told() -> None:
    config = compose(["data=digits", "augment=light"])
    assert list(config.augment) == ["random_crop"]
    assert config.dropped_augment == ["horizontal_flip"]


def test_recipes_of_small_and_strong_augmentation() -> None:
    base = ["data=fashion_mnist"]
    light, standard, strong = (compose([*base, f"augment={name}"]).augment for name in ("light", "standard", "strong"))
    assert list(light.items()) == list(standard.items())[:2]
    assert list(standard.items()) == list(strong.items())[:4]
    assert list(standard)[2:] == ["randaugment", "cutout"]
    assert list(strong)[4:] == ["mixup", "cutmix"]
    assert strong["mixup"]["p"] + strong["cutmix"]["p"] == 1  # they alternate, and no image is left out
    assert compose([*base, "augment=strong", "augment.mixup.alpha=0.4"]).augment["mixup"] == {"alpha": 0.4, "p": 0.5}
    only_mixup = compose([*base, "augment=strong", "augment.cutmix=null", "augment.mixup.p=1"]).augment
    assert list(only_mixup) == [*standard, "mixup"]


def test_digits_forbid_flips_and_keep_the_rest_of_a_recipe() -> None:
    """RandAugment turns a digit by 30 degrees at most and never mirrors it, so it may stay."""
    config = compose(["data=digits", "augment=strong"])
    assert config.dropped_augment == ["horizontal_flip"]
    assert list(config.augment) == ["random_crop", "randaugment", "cutout", "mixup", "cutmix"]
    forbidding = compose(["augment=strong", "data.forbid=[randaugment, mixup]", "augment.cutmix.p=1"])
    assert forbidding.dropped_augment == ["randaugment", "mixup"]


def test_what_a_data_set_forbids_is_known_under_albumentations_names_too() -> None:
    """D4 mirrors and turns, so a digit set that forbids mirrors forbids it; others are forbidden by their own name."""
    assert compose(["data=digits", "augment=albumentations"]).dropped_augment == ["HorizontalFlip"]
    for line, does in (("D4", "horizontal_flip"), ("RandomRotate90", "quarter_turn"), ("Transpose", "vertical_flip")):
        with pytest.raises(UserError, match=rf"augment\.{line}, which does .*{does}.*digits forbids it"):
            compose(["data=digits", f"augment.{line}.p=0.5"])
        assert list(compose(["data=fashion_mnist", f"augment.{line}.p=0.5"]).augment) == [line]
    both = ["data=fashion_mnist", "augment=albumentations", "data.forbid=[CoarseDropout,horizontal_flip]"]
    assert compose(both).dropped_augment == ["HorizontalFlip", "CoarseDropout"]
    with pytest.raises(UserError, match="unknown albumentations operation 'CoarseDropou'; nearest: CoarseDropout"):
        compose(["data.forbid=[CoarseDropou]"])


def test_every_operation_is_a_key_of_the_command_line() -> None:
    """Any line can be added to any recipe; a new row of the tables is one without another word."""
    recipe = compose(["data=fashion_mnist", "augment=none", *(f"augment.{name}.p=0.01" for name in names.operations())])
    assert recipe.augment == {name: {"p": 0.01} for name in names.operations()}


def test_plus_signs_of_hydra_users_are_taken() -> None:
    assert compose(["+optimizer.lr=0.5"]).optimizer.lr == 0.5
    assert compose(["++optimizer.lr=0.5"]).optimizer.lr == 0.5


def test_weights_follow_from_the_mode() -> None:
    assert compose(["model=resnet18"]).model.weights == "none"
    assert compose(["model=resnet18", "transfer=full"]).model.weights == "default"
    assert compose(["model=resnet18", "transfer=full", "model.pretrained=true"]).model.weights == "default"
    assert compose(["model=resnet18", "transfer=full", "transfer.allow_random=true"]).model.weights == "none"
    named = compose(["model=resnet18", "transfer=full", "model.weights=IMAGENET1K_V1"])
    assert named.model.weights == "IMAGENET1K_V1"


def test_a_grid_is_expanded_in_hydras_order() -> None:
    jobs = compose_jobs(["model=mlp,softmax", "optimizer.lr=0.1,0.01", "seed=range(0,2)", "name=a"], True)
    found = [(job.model.name, job.optimizer.lr, job.seed, job.name) for job in jobs]
    assert found[:3] == [("mlp", 0.1, 0, "a-0"), ("mlp", 0.1, 1, "a-1"), ("mlp", 0.01, 0, "a-2")]
    assert len(found) == 8
    assert jobs[0].command == ["model=mlp", "optimizer.lr=0.1", "seed=0", "name=a", "callbacks.report=null"]
    assert [job.optimizer.name for job in compose_jobs(["optimizer=choice(sgd,adam)"], True)] == [
        "sgd",
        "adam",
    ]


def test_a_command_line_of_one_job_of_a_grid_gives_that_job() -> None:
    for job in compose_jobs(
        ["optimizer.lr=0.1,0.01", "trainer.profiler=null,simple", "data.forbid=[],[vertical_flip]"], True
    ):
        alone = compose([*job.command, "callbacks.report=null"])  # a grid writes no reports
        assert alone.to_plain() == job.to_plain()


def test_nothing_is_left_of_hydra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(tmp_path)
    before = GlobalHydra.instance().is_initialized()
    compose([])
    assert GlobalHydra.instance().is_initialized() is before is False
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_is_composed_without_torch() -> None:
    code = "from settings.reading.compose import compose; compose(['model=vgg16'])"
    code += "; import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_stored_configuration_with_an_option_that_is_no_more_is_read() -> None:
    plain = compose([]).to_plain()
    assert "limit_predict_batches" not in plain["trainer"]
    stored = {**plain, "trainer": {**plain["trainer"], "limit_predict_batches": None}}
    assert config_from_plain(stored).to_plain() == plain
    with pytest.raises(UserError, match="limit_predict_batches"):
        compose(["trainer.limit_predict_batches=3"])


def test_text_keys_exist_and_hold_text() -> None:
    from settings.schema.run_config import all_keys

    assert text_keys() <= set(all_keys())


@pytest.mark.parametrize("value", [True, "1.5", float("nan"), [1]])
def test_a_stored_configuration_is_checked_as_strictly(value: Any) -> None:
    from pydantic import ValidationError

    plain = compose([]).to_plain()
    plain["optimizer"]["lr"] = value
    with pytest.raises(ValidationError):
        config_from_plain(plain)


def test_all_mistakes_are_in_the_error_itself() -> None:
    with pytest.raises(UserError) as caught:
        compose(["epochs=3", "optimizer.lr=x"])
    assert len(caught.value.messages) == 2
    assert caught.value.exit_code == 2
