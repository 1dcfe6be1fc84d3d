"""Run folders as train.py writes them, made by hand so that every figure in them is known."""

import json
from functools import cache

import pytest
import yaml

from settings.reading.compose import compose


@cache
def composed(*overrides):
    return compose(list(overrides)).to_yaml()


def configuration(*overrides):
    """What train.py would write; a plain value is put in its place, which costs less than composing again."""
    plain = [one for one in overrides if "." in one and "ema" not in one]
    config = yaml.safe_load(composed(*(one for one in overrides if one not in plain)))
    for one in plain:
        key, _, value = one.partition("=")
        section, _, last = key.partition(".")
        assert last in config[section]
        config[section][last] = yaml.safe_load(value)
    return config


@pytest.fixture
def make_run(tmp_path):
    """Write one run folder below tmp_path/runs; returns it."""

    def make(name, *overrides, seed=0, status="finished", images=("a", "b"), fingerprint="f0", started=0.0, **metrics):
        folder = tmp_path / "runs" / "digits-mine" / name
        folder.mkdir(parents=True)
        config = configuration(*overrides)
        config.update(seed=seed, name=name)
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        summary = {
            "schema": 1,
            "status": status,
            "metrics": {key.replace("_", "/", 1): v for key, v in metrics.items()},
        }
        summary |= {"seed": seed, "monitor": "val/accuracy", "data_fingerprint": fingerprint, "started": started}
        summary |= {"reason": None if status == "finished" else "the power went", "train_seconds": 10.0 + seed}
        (folder / "summary.json").write_text(json.dumps(summary))
        rows = [f"{key},zero,test\n" for key in images] + ["v,zero,val\n", "t,one,train\n"]
        (folder / "splits.csv").write_text("file,class,split\n" + "".join(rows))
        curve = "".join(f"{epoch},{epoch + 1},,{0.5 + epoch / 10},{1 - epoch / 10}\n" for epoch in range(3))
        (folder / "metrics.csv").write_text(f"epoch,step,lr,val/accuracy,val/loss\n,1,0.1,,\n{curve}")
        return folder

    return make


@pytest.fixture
def predict():
    """Write the predictions of a run: key -> (target, prediction)."""

    def write(folder, table, name="test-center"):
        path = folder / "evaluation" / name / "predictions.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"{key},{target},{guess}\n" for key, (target, guess) in table.items())
        path.write_text(f"key,target,prediction\n{rows}")

    return write
