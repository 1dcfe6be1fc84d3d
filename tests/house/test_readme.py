"""What README and docs/ name is there, and their results are those that were measured."""

import re
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from models.nets import NETS
from predict import predict
from train import train

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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


def test_the_readme_is_read_in_five_minutes():
    assert len(README.splitlines()) <= 150


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\(docs/(\w+\.md)", README))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_named_files_exist():
    for name in re.findall(
        r"`((?:configs|settings|models|datamodules|callbacks|engine|reports|tests|notebooks)/[\w./]*)`", README
    ):
        assert "NAME" in name or (ROOT / name).exists(), name


def test_all_own_nets_are_named():
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "nets.md").read_text(encoding="utf-8")))
    assert set(NETS) <= named


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
    page = (ROOT / "docs" / "evaluate.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"((?:    .*\n|\n)+)", page.partition("or, step by step:\n")[2])[:1]
    code = re.sub(r"^    ", "", block, flags=re.MULTILINE)
    (row,) = predict(f"run={run}", f"images={image}")
    capsys.readouterr()
    exec(code.replace('"RUN"', f'"{run}"').replace('"photo.jpg"', f'"{image}"'), {})
    name, probability = capsys.readouterr().out.rsplit(maxsplit=1)
    assert (name, float(probability)) == (row["class"], pytest.approx(row["probability"], abs=1e-6))
