"""Every mistake is named with what would be right, in at most 12 lines, with exit code 2; nothing is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from settings.commands.launch import launch
from settings.reading.compose import compose
from settings.schema import trackers

ROOT = Path(__file__).resolve().parents[2]

# arguments (separated by blanks) -> what the answer has to hold
MALFORMED = {
    # wrong kinds of value
    "trainer.max_epochs=five": ["trainer.max_epochs=five", "whole number"],
    "trainer.max_epochs='5'": ["trainer.max_epochs='5'", "whole number"],
    "trainer.max_epochs=5.0": ["trainer.max_epochs=5.0", "whole number"],
    "trainer.max_epochs=true": ["trainer.max_epochs=true", "whole number"],
    "trainer.max_epochs=": ["trainer.max_epochs", "whole number"],
    "trainer.max_epochs={a:1}": ["trainer.max_epochs={a: 1}", "whole number"],
    "optimizer.lr=abc": ["optimizer.lr=abc", "a number"],
    "optimizer.lr=[0.1]": ["optimizer.lr=[0.1]", "a number"],
    "optimizer.lr=null": ["optimizer.lr=null", "a number"],
    "optimizer.betas=0.9": ["optimizer.betas=0.9", "list"],
    "test=maybe": ["test=maybe", "true or false"],
    "test=1": ["test=1", "true or false"],
    "seed=1.5": ["seed=1.5", "whole number"],
    "callbacks.learning_rate=5": ["callbacks.learning_rate=5", "mapping"],
    "augment.random_crop=5": ["augment.random_crop=5", "mapping"],
    "augment.random_crop.padding=wide": ["augment.random_crop.padding=wide", "number"],
    "augment.randaugment.magnitude=9.5": ["augment.randaugment.magnitude=9.5", "whole number"],
    "augment.randaugment.magnitude=31": ["augment.randaugment.magnitude=31", "from 0 to 30"],
    "augment.cutout.holes=0": ["augment.cutout.holes=0", "from 1 to 100"],
    "augment.mixup.alpha=0": ["augment.mixup.alpha=0", "from 0.01"],
    "augment.mixup.num_classes=3": ["unknown key augment.mixup.num_classes", "augment.mixup.alpha"],
    "augment=strong augment.mixup.p=0.6": ["augment.cutmix.p", "mixup.p=0.6 + cutmix.p=0.5", "more than 1"],
    "augment.mixup={} augment.cutmix={}": ["mixup.p=1 + cutmix.p=1", "more than 1"],
    "data=digits augment.D4.p=1 augment.cutout.side=a": ["augment.D4, which does horizontal_flip", "cutout.side=a"],
    "augment.mixup.p=0.7 augment.mosaic.p=0.7 augment.cutout.side=2": ["more than 1", "cutout.side=2"],
    "augment.mixup.p=2 augment.cutmix.p=0.5": ["augment.mixup.p=2: must be from 0 to 1"],
    "augment.randaugmnt.p=1": ["augment.randaugmnt", "augment.randaugment"],
    "data=digits augment.horizontal_flip.p=0.5": ["digits forbids it", "data.forbid"],
    "loss.class_weights=balancd": ["loss.class_weights=balancd", "nearest: balanced"],
    "loss.class_weights=[0,0]": ["loss.class_weights=[0, 0]", "above 0"],
    "loss.class_weights=[1,-1]": ["loss.class_weights", "at least 0"],
    "data.balance=oversampel": ["data.balance=oversampel", "nearest: oversample"],
    "data.balance=oversample loss.class_weights=balanced": ["correct the same twice"],
    "monitor=val/f1_makro": ["val/f1_makro", "val/f1_macro"],
    "monitor=train/accuracy_macro": ["train/accuracy_macro", "is not logged"],
    # impossible values
    "optimizer.lr=0": ["optimizer.lr=0", "more than 0"],
    "optimizer.lr=-0.1": ["optimizer.lr=-0.1", "more than 0"],
    "optimizer.lr=nan": ["optimizer.lr=nan", "finite"],
    "optimizer.weight_decay=inf": ["optimizer.weight_decay=inf", "finite"],
    "optimizer.betas=[0.9]": ["optimizer.betas=[0.9]", "2"],
    "optimizer.betas=[0.9,1.0]": ["optimizer.betas", "less than 1"],
    "seed=-1": ["seed=-1", "at least 0"],
    "data.batch_size=0": ["data.batch_size=0", "at least 1"],
    "data.val_fraction=1": ["data.val_fraction=1", "less than 1"],
    "data.fraction=1.5": ["data.fraction=1.5", "at most 1"],
    "trainer.limit_train_batches=0": ["trainer.limit_train_batches=0", "at least 1"],
    "trainer.devices=3": ["data.batch_size=64", "must divide by 3", "such as 63"],
    "trainer.num_nodes=2": ["trainer.num_nodes=2", "torchrun or srun", "MASTER_ADDR"],
    "trainer.devices=2 trainer.strategy=single_device": ["trainer.strategy=single_device", "auto or ddp"],
    "trainer.strategy=fsdp": ["trainer.strategy=fsdp", "ddp"],
    "trainer.devices=0": ["trainer.devices=0", "at least 1"],
    "trainer.precision=bf16-mixd": ["trainer.precision=bf16-mixd", "nearest: bf16-mixed"],
    "trainer.accelerator=gpuu": ["trainer.accelerator=gpuu", "nearest: gpu"],
    "trainer.strategy=dpp": ["trainer.strategy=dpp", "nearest: ddp"],
    "trainer.max_time=1h": ["trainer.max_time", "00:01:30:00"],
    "logger=wandb logger.project=team/photos": ["logger.project=team/photos", "write team-photos", "logger.entity"],
    f"logger=wandb logger.project={'x' * 129}": ["logger.project=xxx", "129 characters", "at most 128"],
    f"logger=wandb logger.tags=[a,{'x' * 65}]": ["logger.tags=xxx", "65 characters", "at most 64"],
    "loss.label_smoothing=1.5": ["loss.label_smoothing=1.5", "less than 1"],
    "callbacks.ema.decay=1.5": ["callbacks.ema.decay=1.5", "less than 1"],
    "augment.horizontal_flip.p=2": ["augment.horizontal_flip.p=2", "from 0 to 1"],
    "augment.random_crop.padding=-1": ["augment.random_crop.padding=-1", "more than 0 and less than 1"],
    "model.depth=21": ["model.depth=21", "6n + 2", "20 or 26"],
    "model=cnn model.norm=bach": ["model.norm=bach", "nearest: batch"],
    "model=cnn model.kernel_size=4": ["model.kernel_size=4", "odd"],
    "model=cnn model.order=[conv,norm]": ["model.order=[conv, norm]", "a list of 5 different"],
    "monitor=val/acc": ["monitor", "val/acc", "nearest: val/accuracy"],
    "monitor_mode=maximum": ["monitor_mode=maximum", "nearest: max"],
    "name=a/b": ["name=a/b", "one folder"],
    "name=..": ["name", "one folder"],
    "name=": ["name", "empty"],
    "paths.runs=": ["paths.runs", "empty"],
    # unknown keys
    "optimizer.lrr=0.1": ["optimizer.lrr", "nearest: optimizer.lr"],
    "optimzer.lr=0.1": ["optimzer.lr", "nearest: optimizer.lr"],
    "optimzer=sgd": ["optimzer", "nearest: optimizer"],
    "optimizer.momentum=0.9": ["optimizer.momentum", "optimizer=adamw", "optimizer=sgd"],
    "scheduler.gama=0.5": ["scheduler.gama", "nearest: scheduler.gamma"],
    "data.val_frac=0.2": ["data.val_frac", "nearest: data.val_fraction"],
    "model.dpth=20": ["model.dpth", "nearest: model.depth"],
    "model.dropout=0.1": ["model.dropout", "model=cnn"],
    "model.pretraned=true": ["model.pretraned", "nearest: model.pretrained"],
    "trainer.max_epoch=5": ["trainer.max_epoch", "trainer.max_epochs"],
    "trainer.fast_dev_run=true": ["trainer.fast_dev_run", "debug=fast"],
    "callbacks.emma.decay=0.9": ["callbacks.emma.decay", "nearest: callbacks.ema.decay"],
    "callbacks.ema.decy=0.9": ["callbacks.ema.decy", "nearest: callbacks.ema.decay"],
    "callbacks.own_part=3": ["callbacks.own_part", "callbacks.early_stopping"],
    "logger.tags=[a]": ["logger.tags", "logger=csv", "logger=wandb"],
    "logger=[wandb,csv] logger.tagz=[a]": ["logger.tagz", "nearest: logger.tags"],
    "logger=[wandb,wanb]": ["logger 'wanb'", "nearest: wandb"],
    "logger=wandb logger.projct=a": ["logger.projct", "nearest: logger.project"],
    "augment.random_corp.padding=0.1": ["augment.random_corp", "nearest: augment.random_crop"],
    "augment.random_crop.paddin=0.1": ["augment.random_crop.paddin", "nearest: augment.random_crop.padding"],
    "paths.run=a": ["paths.run", "nearest: paths.runs"],
    "foo=1": ["foo", "there is: experiment"],
    "+optimizer.lrr=0.1": ["optimizer.lrr", "nearest: optimizer.lr"],
    "~optimizer.lrr": ["optimizer.lrr", "nearest: optimizer.lr"],
    "~optimizer": ["~optimizer", "optimizer=CHOICE"],
    "optimizer.lr.high=1": ["optimizer.lr.high", "optimizer.lr has no keys"],
    # unknown choices
    "model=vgg166": ["vgg166", "nearest: vgg16"],
    "model=restnet20": ["restnet20", "nearest: resnet20"],
    "model=timm model.name=resnet18x": ["model.name", "resnet18x", "nearest: resnet18"],
    "data=digit": ["data", "'digit'", "nearest: digits"],
    "optimizer=sdg": ["optimizer 'sdg'", "nearest: sgd"],
    "optimizer=null": ["optimizer 'null'", "adamw"],
    "optimizer={name:sgd}": ["optimizer={name:sgd}", "adamw"],
    "optimizer.name=sgd": ["optimizer.name", "optimizer=sgd"],
    "scheduler=onecycle": ["scheduler 'onecycle'", "nearest: one_cycle"],
    "augment=lite": ["augment 'lite'", "nearest: light"],
    "transfer=fulll": ["transfer 'fulll'", "nearest: full"],
    "transfer=head": ["transfer 'head'", "nearest: head_only"],
    "transfer=gradual transfer.stages=2": ["transfer.stages of transfer=gradual", "belongs to transfer=partial"],
    "transfer=partial transfer.stage=2": ["transfer.stage", "nearest: transfer.stages"],
    "transfer=partial transfer.stages=0": ["transfer.stages=0", "at least 1"],
    "transfer=partial transfer.stages=1.0": ["transfer.stages=1.0", "less than 1"],
    "transfer=partial transfer.stages=[]": ["transfer.stages", "at least 1"],
    "transfer=discriminative transfer.decay=0": ["transfer.decay=0", "more than 0"],
    "transfer=discriminative transfer.decay=1.5": ["transfer.decay=1.5", "at most 1"],
    "transfer=gradual transfer.schedule=stage": ["transfer.schedule=stage", "nearest: stages"],
    "transfer=gradual transfer.head_epochs=0": ["transfer.head_epochs=0", "at least 1"],
    "transfer.name=full": ["transfer.name", "transfer=full"],
    "trainer=defualt": ["trainer 'defualt'", "nearest: default"],
    "callbacks=nonee": ["callbacks 'nonee'", "nearest: none"],
    "logger=wanb": ["logger 'wanb'", "nearest: wandb"],
    "debug=fst": ["debug 'fst'", "nearest: fast"],
    "experiment=digit_resnet20": ["experiment 'digit_resnet20'", "nearest: digits_resnet20"],
    "experiment=../../README": ["experiment", "digits_resnet20"],
    # other tools' words
    "epochs=5": ["epochs", "trainer.max_epochs"],
    "bs=4": ["bs", "data.batch_size"],
    "batch=4": ["batch", "data.batch_size"],
    "imgsz=32": ["imgsz", "data.image_size"],
    "pretrained=true": ["pretrained", "model.pretrained"],
    "wd=0.1": ["wd", "optimizer.weight_decay"],
    "lr=0.1": ["lr", "optimizer.lr"],
    "device=cpu": ["device", "trainer.accelerator"],
    "gpus=2": ["gpus", "trainer.devices"],
    "workers=2": ["workers", "data.num_workers"],
    "patience=3": ["patience", "callbacks.early_stopping.patience"],
    "ckpt_path=a": ["ckpt_path", "resume"],
    "opt=adam": ["opt", "optimizer"],
    "sched=cosine": ["sched", "scheduler"],
    "amp=true": ["amp", "trainer.precision"],
    "data.imgsz=32": ["data.imgsz", "data.image_size"],
    "--epochs 5": ["--epochs", "trainer.max_epochs=5"],
    "--lr=0.1": ["--lr", "optimizer.lr=0.1"],
    # syntax
    "trainer.max_epochs": ["trainer.max_epochs=VALUE"],
    "seed=[1,2": ["seed", "cannot be read"],
    "seed='1": ["seed", "cannot be read"],
    "=5": ["key=value"],
    "seed=1,2": ["seed", "-m"],
    "model=lenet5,resnet20": ["model=lenet5,resnet20", "-m"],
    "-m seed=range(0,100000000)": ["seed", "10000"],
    "-m seed=range(0,1,0)": ["seed"],
    "-m seed=interval(0,1)": ["seed", "interval()"],
    "--cfg hydra": ["--cfg", "job"],
    # what would run code, or leak
    "data._target_=os.system": ["data._target_", "datamodules.FILE.CLASS"],
    "data._target_=datamodules.digits.Digit": ["data._target_", "nearest: Digits"],
    "data._target_=datamodules.digts.Digits": ["data._target_", "nearest: digits"],
    "data._target_=datamodules.digits.torch.load": ["data._target_", "datamodules/digits"],
    "optimizer._target_=torch.optim.SGD": ["optimizer._target_", "data and in callbacks"],
    "callbacks.ema._target_=os.system": ["callbacks.ema._target_", "callbacks.FILE.CLASS"],
    "callbacks.a._partial_=true": ["callbacks.a"],
    "optimizer.lr=${oc.env:HOME}": ["optimizer.lr", "interpolations"],
    "logger.tags=['${oc.env:HOME}']": ["logger.tags", "interpolations"],
    "hydra.run.dir=.": ["hydra.run.dir", "paths.runs"],
    "hydra/launcher=x": ["hydra/launcher", "Hydra"],
    "model@net=resnet20": ["model@net", "@"],
    # settings that exclude each other
    "scheduler.warmup_epochs=1": ["scheduler.warmup_epochs=1", "one_cycle"],
    "scheduler=cosine scheduler.warmup_epochs=100": ["scheduler.warmup_epochs=100", "trainer.max_epochs=20"],
    "data.fraction=0.5 data.per_class=3": ["data.per_class=3", "data.fraction=0.5"],
    "data.forbid=[horizontal_flipp]": ["data.forbid", "nearest: horizontal_flip"],
    "augment.vertical_flip.p=0.5 data.forbid=[vertical_flip]": ["augment.vertical_flip", "data.forbid"],
    "trainer.accumulate_grad_batches=3": ["trainer.accumulate_grad_batches", "data.batch_size=64", "63"],
    "trainer.gradient_clip_algorithm=norm": ["trainer.gradient_clip_val"],
    "trainer.min_epochs=50": ["trainer.min_epochs=50", "trainer.max_epochs=20"],
    "optimizer=sgd optimizer.momentum=0 optimizer.nesterov=true": ["optimizer.nesterov", "momentum"],
    "monitor=val/loss monitor_mode=max": ["monitor_mode", "monitor_mode=min"],
    "task=segmentation": ["task=segmentation", "masks", "data=digits has labels"],
    "task=clasification": ["task", "classification"],
    "loss=focall": ["loss", "focal"],
    "loss.gamma=2": ["loss.gamma"],
    "loss.terms={dise:{}}": ["loss.terms.dise", "dice"],
    "loss.terms={dice:{}}": ["loss.terms.dice", "cannot learn from labels"],
    "model=lenet5 data.image_size=30": ["data.image_size=30", "28 or 32"],
    "model=resnet18 model.pretrained=true": ["model.pretrained=true", "transfer=full"],
    "model=resnet18 transfer=full model.weights=none": ["model.weights=none", "allow_random=true"],
    "model=resnet18 transfer=full model.pretrained=true model.weights=A_B": ["model.pretrained", "set one"],
    "transfer=full": ["transfer=full", "model.weights=FILE"],
    "model=resnet18 loss.auxiliary_weight=0.4": ["loss.auxiliary_weight=0.4", "model.arguments.aux_logits=true"],
    "transfer=head_only": ["transfer=head_only", "model.weights=FILE"],
    "model=resnet18 transfer=partial model.weights=none": ["model.weights=none", "allow_random=true"],
    "transfer=full model.weights=/no/such.pth": ["model.weights=/no/such.pth", "no such file"],
    "model=resnet18 model.depth=3": ["model.depth", "model.arguments.depth"],
    "resume=nosuchrun": ["resume=nosuchrun", "no such run"],
    # several at once, over the whole command line and over all jobs
    "model=vgg166 optimizer.lrr=1 trainer.max_epochs=0 epochs=4 data.batch_size=x": [
        *("nearest: vgg16", "nearest: optimizer.lr", "trainer.max_epochs=0"),
        *("epochs; write", "data.batch_size=x"),
    ],
    "experiment=nosuch debug=nosuch seed=x -m": ["experiment 'nosuch'", "debug 'nosuch'", "seed=x"],
    "-m optimizer=sgd,sdg optimizer.lr=0.1,-1 model=mlp,lenet": ["'sdg'", "optimizer.lr=-1", "lenet5"],
}  # fmt: skip


def answer(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, list[str]]:
    def never(config: object) -> None:
        raise AssertionError("a refused configuration was run")

    code = launch(never, arguments)
    return code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("line", MALFORMED)
def test_each_mistake_is_named_with_what_would_be_right(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = answer(capsys, line.split(" "))
    assert code == 2
    assert 1 <= len(said) <= 12
    for word in MALFORMED[line]:
        assert any(word in one for one in said), (word, said)
    assert not any("Traceback" in one or "Error" in one for one in said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WANDB_MODE", "oflline", "WANDB_MODE='oflline' in the environment is no mode of wandb; nearest: offline"),
        ("WANDB_PROJECT", "a:b", "WANDB_PROJECT=a:b in the environment: a project of wandb must not hold :: write a-b"),
        ("WANDB_TAGS", f"a,{'x' * 65}", "has 65 characters; a tag of wandb has at most 64"),
    ],
)
def test_what_the_environment_tells_wandb_is_read_too(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    code, lines = answer(capsys, ["logger=wandb"])
    assert code == 2 and len(lines) == 1 and lines[0].startswith("command line: logger=wandb: ") and said in lines[0]
    assert compose(["logger=csv"]).logger.name == "csv"


def test_the_limits_of_wandb_are_its_own() -> None:
    """Each name is asked of wandb as well."""
    import wandb

    good = {"project": "p" * 128, "run_tags": ("t" * 64,)}
    assert wandb.Settings(**good).project == good["project"]
    for key, value in (("project", "p" * 129), ("run_tags", ("t" * 65,)), ("mode", "oflline")):
        with pytest.raises(Exception, match=r"129|128|65|offline"):
            wandb.Settings(**{key: value})
    for sign in trackers.NOT_IN_A_PROJECT:
        with pytest.raises(Exception, match="cannot contain"):
            wandb.Settings(project=f"a{sign}b")
    for mode in trackers.MODES:
        assert wandb.Settings(mode=mode).mode == mode


def test_a_flood_of_mistakes_is_counted_and_not_poured_out(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = answer(capsys, [f"optimizer.wrong{index}=1" for index in range(30)])
    assert code == 2
    assert len(said) == 12
    assert said[-1] == "... and 19 more"


def test_one_mistake_makes_one_line_in_a_grid(capsys: pytest.CaptureFixture[str]) -> None:
    _, said = answer(capsys, ["-m", "seed=0,1,2", "optimizer.lr=0.1,0.2", "data.batch_size=0"])
    assert len(said) == 1


@pytest.mark.parametrize(
    "line", ["optimizer.lrr=0.1 model=vgg166", "experiment=nosuch", "-m model=lenet5,lenet", "--epochs 5"]
)
def test_the_command_answers_without_torch_and_leaves_no_folder(line: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    code = (
        "import sys, runpy; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: assert 'torch' not in sys.modules and 'lightning' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "train.py"), *line.split(" "), f"paths.runs={runs}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 12
    assert list(tmp_path.iterdir()) == []
