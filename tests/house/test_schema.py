"""The schema that editors use is the one of this tree, and every YAML file names its part of it."""

import json
from pathlib import Path

import pytest

from settings.schema.json_schema import json_schema

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_file_is_what_is_printed():
    stored = json.loads((CONFIGS / "train.schema.json").read_text(encoding="utf-8"))
    assert stored == json_schema(), "write it anew: python train.py --schema > configs/train.schema.json"


@pytest.mark.parametrize(
    "path", [CONFIGS / "train.yaml", *sorted(CONFIGS.glob("*/*.yaml"))], ids=lambda path: path.stem
)
def test_every_file_names_its_schema(path):
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    group = path.parent.name
    if path.parent == CONFIGS:
        assert first == "# yaml-language-server: $schema=train.schema.json"
    elif group in ("experiment", "debug"):  # Hydra's own line has to be the first
        assert [first, second] == ["# @package _global_", "# yaml-language-server: $schema=../train.schema.json"]
    else:
        assert first == f"# yaml-language-server: $schema=../train.schema.json#/$defs/{group}"
