"""Evaluation has no randomness by structure: nothing random is within its reach, and no key could put it there."""

import ast
from pathlib import Path

import pytest
import torch

from datamodules import transforms
from datamodules.batch import OPERATIONS
from datamodules.digits import Digits
from settings.errors import UserError
from settings.reading.compose import compose
from settings.schema.run_config import Settings

HARSH = {name: {} if name in ("mixup", "random_crop", "randaugment", "cutout") else {"p": 0.0} for name in OPERATIONS}


def digits(recipe):
    data = Digits()
    data.configure(recipe=recipe, batch_size=100)
    data.setup()
    return data


def test_its_pipeline_imports_and_calls_nothing_random():
    tree = ast.parse(Path(transforms.__file__).read_text())
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"functools", "settings.preprocessing", "torchvision.transforms.v2"}
    assert not [name for name in named if "rand" in name.lower() or "generator" in name.lower()]


def test_it_runs_with_every_source_of_randomness_removed(monkeypatch):
    data = digits(HARSH)
    batch = next(iter(data.val_dataloader()))
    expected = digits(None).evaluation_batch(batch)

    def forbidden(*_, **__):
        raise AssertionError("evaluation drew a random number")

    for name in ("rand", "randint", "randperm", "randn", "bernoulli", "multinomial", "normal", "Generator"):
        monkeypatch.setattr(torch, name, forbidden)
    for module in ("base", "randomness"):
        monkeypatch.setattr(f"datamodules.{module}.generator", forbidden)
    images, targets = data.evaluation_batch(batch)
    assert torch.equal(images, expected[0])
    assert torch.equal(targets, batch[1])
    with pytest.raises(AssertionError, match="drew"):
        data.train_batch(batch, step=0)


def test_no_key_configures_a_transform_of_evaluation():
    """`augment` is the only section that names operations, and the device step gives it to training alone."""
    keys = set(Settings.model_fields) | set(Settings.model_fields["data"].annotation.model_fields)
    assert not [key for key in keys if "transform" in key or "eval" in key]
    for attempt in ("augment.eval={horizontal_flip: {p: 0.5}}", "data.val_augment=light", "data.eval_transforms=[x]"):
        with pytest.raises(UserError, match="unknown key"):
            compose([attempt])
