"""Files are trusted no more than the command line."""

import time
from pathlib import Path

import pytest

from settings.errors import UserError
from settings.reading.compose import compose

GLOBAL = "# @package _global_\n"
BOMB = "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("bcdefgh", "cdefghi", strict=True)
)

BROKEN = {
    "typo in a key": (
        "optimizer:\n  lrr: 0.1\n",
        ["experiment/mine.yaml:3", "optimizer.lrr", "optimizer.lr"],
    ),
    "typo at the top": (
        "optimzer:\n  lr: 0.1\n",
        ["experiment/mine.yaml:2", "optimzer", "nearest: optimizer"],
    ),
    "wrong type": ("trainer:\n  max_epochs: many\n", ["experiment/mine.yaml:3", "trainer.max_epochs=many"]),
    "impossible value": ("data:\n  batch_size: -1\n", ["experiment/mine.yaml:3", "data.batch_size=-1"]),
    "another tool's word": ("epochs: 5\n", ["experiment/mine.yaml:2", "trainer.max_epochs"]),
    "duplicate key": ("seed: 1\nseed: 2\n", ["experiment/mine.yaml:3", "seed stands twice"]),
    "deep duplicate": (
        "data:\n  batch_size: 4\n  batch_size: 8\n",
        ["mine.yaml:4", "data.batch_size stands twice"],
    ),
    "alias": ("seed: &a 1\ndata: *a\n", ["experiment/mine.yaml:2", "anchors"]),
    "alias bomb": (BOMB, ["anchors and aliases"]),
    "tag": ("seed: !!python/object/apply:os.system ['true']\n", ["tags"]),
    "garbled": ("seed: [1, 2\nname: }{\n", ["experiment/mine.yaml", "not valid YAML"]),
    "tabs": ("data:\n\tbatch_size: 1\n", ["experiment/mine.yaml:3", "not valid YAML"]),
    "a list": ("- seed\n- 1\n", ["mapping of keys"]),
    "a scalar": ("seed\n", ["mapping of keys"]),
    "two documents": ("seed: 1\n---\nseed: 2\n", ["more than one document"]),
    "nested without end": ("seed: " + "[" * 500 + "]" * 500 + "\n", ["nested too deeply"]),
    "interpolation": ("name: ${oc.env:HOME}\n", ["experiment/mine.yaml:2", "interpolations"]),
    "target": ("optimizer:\n  _target_: torch.optim.SGD\n", ["mine.yaml:3", "optimizer._target_"]),
    "hydra's settings": ("hydra:\n  run:\n    dir: .\n", ["experiment/mine.yaml:2", "Hydra"]),
    "unknown choice": (
        "defaults:\n  - override /model: vgg166\n",
        ["experiment/mine.yaml", "nearest: vgg16"],
    ),
    "unknown group": (
        "defaults:\n  - override /modle: mlp\n",
        ["mine.yaml", "group 'modle'", "nearest: model"],
    ),
    "defaults no list": ("defaults: mlp\n", ["mine.yaml:2", "defaults must be a list"]),
    "choice as a value": ("optimizer: sgd\n", ["mine.yaml:2", "override /optimizer"]),
    "key of another choice": (
        "optimizer:\n  momentum: 0.9\n",
        ["mine.yaml:3", "optimizer.momentum", "optimizer=sgd"],
    ),
    "forbidden operation": (
        "augment:\n  horizontal_flip: {p: 0.5}\n",
        ["augment.horizontal_flip", "data.forbid"],
    ),
    "excluding settings": ("data:\n  fraction: 0.5\n  per_class: 3\n", ["data.per_class", "data.fraction"]),
    "a circle": ("defaults:\n  - mine\n", ["circle", "experiment/mine"]),
}


def refused(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        compose(overrides)
    assert len(caught.value.messages) <= 12
    return list(caught.value.messages)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_experiment_is_named_with_file_and_line(case: str, own_configs: Path) -> None:
    text, words = BROKEN[case]
    (own_configs / "experiment" / "mine.yaml").write_text(GLOBAL + text)
    started = time.perf_counter()
    said = refused("experiment=mine", "trainer.max_epoch=3")
    assert time.perf_counter() - started < 5
    for word in words:
        assert any(word in one for one in said), (word, said)
    assert any("trainer.max_epochs" in one for one in said), "the command line's own mistake is told as well"


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\x00", b"\xff\xfe\x00s", bytes(range(256))])
def test_a_binary_file_is_refused(content: bytes, own_configs: Path) -> None:
    (own_configs / "experiment" / "mine.yaml").write_bytes(content)
    assert "experiment/mine.yaml" in refused("experiment=mine")[0]


def test_an_experiment_without_its_package_line_would_set_nothing(own_configs: Path) -> None:
    (own_configs / "experiment" / "mine.yaml").write_text("seed: 3\n")
    assert "# @package _global_" in refused("experiment=mine")[0]


def test_mistakes_in_group_files_name_the_file_and_line(own_configs: Path) -> None:
    (own_configs / "optimizer" / "slow.yaml").write_text("name: sgd\nlr: 0\nmomentun: 0.9\n")
    said = refused("optimizer=slow")
    assert any("optimizer/slow.yaml:2: optimizer.lr=0" in one for one in said)
    assert any("optimizer/slow.yaml:3" in one and "nearest: optimizer.momentum" in one for one in said)


@pytest.mark.parametrize("file", ["data/digits.yaml", "model/resnet20.yaml", "trainer/default.yaml", "debug/fast.yaml"])
def test_a_broken_default_does_not_hide_other_mistakes(file: str, own_configs: Path) -> None:
    (own_configs / file).write_text("name: [\n")
    said = refused("optimizer.lrr=3", "debug=fast")
    assert any(one.startswith(file) for one in said)
    assert any("nearest: optimizer.lr" in one for one in said)


def test_an_experiment_may_choose_a_bare_net_and_loses_to_the_command_line(own_configs: Path) -> None:
    path = own_configs / "experiment" / "mine.yaml"
    path.write_text(f"{GLOBAL}defaults:\n  - override /model: resnet34\nseed: 5\noptimizer:\n  lr: 1e-3\n")
    config = compose(["experiment=mine"])
    assert (config.model.name, config.model.source, config.seed) == ("resnet34", "torchvision", 5)
    assert config.optimizer.lr == 0.001
    assert config.kind == "mine"
    config = compose(["experiment=mine", "model=mlp", "seed=6"])
    assert (config.model.name, config.seed) == ("mlp", 6)


def test_a_debug_preset_wins_over_an_experiment(own_configs: Path) -> None:
    path = own_configs / "experiment" / "mine.yaml"
    path.write_text(f"{GLOBAL}defaults:\n  - override /augment: light\ntrainer:\n  max_epochs: 7\n")
    assert list(compose(["experiment=mine"]).augment) == ["random_crop"]
    config = compose(["experiment=mine", "debug=overfit"])
    assert config.augment == {}
    assert config.trainer.max_epochs == 100
    assert config.debug == "overfit"
