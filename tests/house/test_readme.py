"""What the README tells people to type is accepted, and what it names is there."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from models.nets import NETS
from predict import predict
from settings.reading.compose import compose_jobs
from train import train

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"python train\.py([^`\n|&]*)", README)


@pytest.mark.parametrize("command", sorted({command.strip() for command in COMMANDS if "resume" not in command}))
def test_commands_compose(command):
    words = [word for word in shlex.split(command.partition("--")[0])]
    assert compose_jobs([word for word in words if word != "-m"], multirun="-m" in words)


KEYS_OF = {
    "explore": "settings.commands.explore",
    "augment": "settings.commands.augment",
    "compare": "settings.commands.compare",
    "predict": "settings.commands.predict",
}
"""Entry script -> the module that reads its command line."""


@pytest.mark.parametrize(
    ("script", "command"),
    [
        (script, one)
        for script in KEYS_OF
        for one in sorted(set(re.findall(rf"python {script}\.py([^`\n|&]*)", README)))
    ],
)
def test_commands_of_the_other_scripts_compose(script, command):
    assert import_module(KEYS_OF[script]).compose_jobs(shlex.split(command), multirun=False)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python evaluate\.py([^`\n|&]*)", README))))
def test_commands_of_evaluate_compose(command, tmp_path):
    for name in ("first", "second"):
        (tmp_path / "digits-mlp" / name / "checkpoints").mkdir(parents=True)
        (tmp_path / "digits-mlp" / name / "checkpoints" / "best.ckpt").write_text("")
    words = [word.replace("run=RUN", "run=first") for word in shlex.split(command)]
    assert import_module("settings.commands.evaluate").compose_jobs([*words, f"paths.runs={tmp_path}"], multirun=False)


def test_promises_name_tests_that_are_there():
    promises = (ROOT / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")
    commands = re.findall(r"`pytest[^`]*?(tests/\S+\.py)(?: -k (\"[^`]*\"|\S+))?`", promises)
    assert len(commands) > 20
    for file, words in commands:
        names = re.findall(r"def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"))
        for word in words.strip('"').split(" or ") if words else [""]:
            assert any(word in name for name in names), (file, word)


def test_the_two_commands_stand_there():
    assert "\n    pip install -e . && python train.py\n" in README
    assert '\n    pip install -e ".[dev]" && python -m pytest\n' in README


def test_named_files_exist():
    for name in re.findall(r"`((?:configs|models|datamodules|callbacks|comparison|tests|notebooks)/[\w./]*)`", README):
        assert "NAME" in name or (ROOT / name).exists(), name


def test_all_own_nets_are_named():
    named = README.partition("**Nets of our own**")[2].partition("- **Optimisers**")[0]
    for net in NETS:
        stem, number = re.fullmatch(r"(\D+?)(\d*)", net).groups()
        assert f"`{net}`" in named or (stem in named and f"`{number}`" in named), net


def test_results_are_those_of_the_experiments_claims():
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (\d\.\d{4} \(\d\.\d{4} to \d\.\d{4}\)) \| [\d.]+ \|$", README, re.MULTILINE)
    )
    claims = {}
    for path in (ROOT / "configs" / "experiment").glob("*.yaml"):
        claim = re.search(
            r"^# result: test/accuracy mean (\S+), range (\S+ to \S+) over", path.read_text(), re.MULTILINE
        )
        assert claim, f"{path.name} has no line `# result:`"
        claims[path.stem] = f"{claim[1]} ({claim[2]})"
    assert rows == claims


def test_the_lines_of_python_give_what_predict_gives(tmp_path, monkeypatch, capsys):
    train(["model=softmax", "trainer.max_epochs=1", "callbacks=none", f"paths.runs={tmp_path}", "name=one"])
    run, image = tmp_path / "digits-softmax" / "one", tmp_path / "photo.png"
    Image.fromarray(load_digits().images[8].astype("uint8") * 15).save(image)
    (block,) = re.findall(r"((?:    .*\n|\n)+)", README.partition("or, step by step:\n")[2])[:1]
    code = re.sub(r"^    ", "", block, flags=re.MULTILINE)
    (row,) = predict(f"run={run}", f"images={image}")
    capsys.readouterr()
    exec(code.replace('"RUN"', f'"{run}"').replace('"photo.jpg"', f'"{image}"'), {})
    name, probability = capsys.readouterr().out.rsplit(maxsplit=1)
    assert (name, float(probability)) == (row["class"], pytest.approx(row["probability"], abs=1e-6))
