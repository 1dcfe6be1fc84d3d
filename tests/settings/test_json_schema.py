"""`python train.py --schema`: what it takes and marks is what the configuration's own checks take and refuse."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from settings.errors import UserError
from settings.reading import files
from settings.reading.compose import compose_jobs
from settings.reading.composition import OPEN
from settings.schema.json_schema import json_schema

ROOT = Path(__file__).parents[2]
SCHEMA = json_schema()
FILES = [ROOT / "configs/train.yaml", *sorted((ROOT / "configs").glob("*/*.yaml"))]


def mistakes(document, group=None):
    """What an editor marks in a file of a group, or in an experiment or train.yaml."""
    own = {"$defs": SCHEMA["$defs"], **SCHEMA["$defs"][group]} if group else SCHEMA
    return [error.message for error in jsonschema.Draft7Validator(own).iter_errors(document)]


def test_it_is_a_schema_without_this_machines_paths():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    text = json.dumps(SCHEMA)
    assert str(ROOT) not in text and str(Path.home()) not in text
    for word in ("gt", "ge", "lt", "le", "discriminator", "oneOf"):
        assert f'"{word}":' not in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_is_taken(path):
    group = path.parent.name
    group = None if group in ("configs", "experiment", "debug") else group
    assert mistakes(yaml.safe_load(path.read_text(encoding="utf-8")), group) == []


SAID = {
    "data.batch_size": (64, 0),
    "data.mean": ([0.5], [2.0]),
    "data.interpolation": ("bicubic", "cubic"),
    "data.batch_sise": (None, 64),
    "trainer.max_epochs": (3, "three"),
    "trainer.devices": ("auto", "all"),
    "trainer.deterministic": ("warn", "maybe"),
    "optimizer.lr": (0.1, -0.1),
    "optimizer.lrr": (None, 0.1),
    "scheduler.peak_fraction": (0.5, 1.5),
    "logger.nmae": (None, "csv"),
    "loss.l1": (0.1, -0.1),
    "loss.label_smoothing": (0.1, 1.5),
    "model.depth": (20, 0),
    "model.shortcut": ("projection", "conv"),
    "model.wdith": (None, 16),
    "transfer.allow_random": (True, "yes"),
    "augment.random_crop.padding": (0.1, 1.5),
    "augment.random_crop.padd": (None, 0.1),
    "augment.random_crob.padding": (None, 0.1),
    "callbacks.ema": (True, 3),
    "callbacks.early_stopping.patience": (5, 1.5),
    "metrics": (["cohen_kappa"], 3),
    "resume_allow": ("optimizer.lr", 3),
    "seed": (1, 2.5),
    "sede": (None, 1),
}
"""Key -> a value that is right (None: there is no such key), and one that is wrong."""


@pytest.mark.parametrize("key", SAID)
def test_an_editor_marks_what_the_command_line_refuses(key, monkeypatch):
    monkeypatch.chdir(ROOT)
    for value, right in zip(SAID[key], (True, False), strict=True):
        if value is None:
            continue
        document = value
        for name in reversed(key.split(".")):
            document = {name: document}
        assert (mistakes(document) == []) is right, mistakes(document)
        words = [f"{key}={json.dumps(value)}"] if not isinstance(value, str) else [f"{key}={value}"]
        try:
            compose_jobs(words)
        except UserError:
            assert not right, words
        else:
            assert right, words


@pytest.mark.parametrize(
    ("group", "right", "wrong"),
    [
        ("model", {"name": "mlp", "source": "own", "widths": [8]}, {"name": "mlp", "source": "own", "depth": 20}),
        ("model", {"name": "vit_b_16", "source": "torchvision"}, {"name": "vit_b_16", "widths": [8]}),
        ("data", {"_target_": "datamodules.mine.Mine", "any": 1}, {"_target_": "datamodules.digits.Digits", "any": 1}),
        ("transfer", {"name": "lora", "rank": 4}, {"name": "full", "rank": 4}),
        ("optimizer", {"name": "sgd", "momentum": 0.5}, {"name": "sgd", "betas": [0.9, 0.99]}),
        ("augment", {"GaussianBlur": {"p": 0.2}, "cutout": None}, {"gaussian_blurr": {"p": 0.2}}),
    ],
)
def test_arguments_follow_from_the_choice(group, right, wrong):
    assert mistakes(right, group) == [] and mistakes(wrong, group)
    if group in ("model", "transfer"):  # an experiment chooses the net elsewhere
        assert mistakes({group: {key: value for key, value in wrong.items() if key not in ("name", "source")}}) == []


def test_groups_are_choices_with_descriptions():
    for group in files.groups():
        for choice in files.choices(group):
            assert mistakes({"defaults": [f"/{group}/x", {f"override /{group}": choice}]}) == []
        if group not in OPEN:  # others take any name that is known
            assert mistakes({"defaults": [{f"override /{group}": "no_such_choice"}]})
    assert mistakes({"defaults": [{"override /model": "resnet56"}]}) == []
    assert mistakes({"defaults": [{"override /modle": "resnet56"}]})
    assert "divide" in SCHEMA["$defs"]["data"]["properties"]["batch_size"]["description"]
    assert SCHEMA["properties"]["seed"]["description"].startswith("initialisation")


def test_it_is_printed_without_torch():
    code = "import runpy, sys; sys.argv = ['train.py', '--schema']\n"
    code += "try: runpy.run_path('train.py', run_name='__main__')\nexcept SystemExit as stop: assert not stop.code\n"
    code += "assert not {'torch', 'lightning', 'timm', 'hydra'} & set(sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == SCHEMA
