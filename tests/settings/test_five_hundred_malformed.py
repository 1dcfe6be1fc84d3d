"""Five hundred malformed configurations, made with a fixed seed: each ends with exit 2, none with a traceback."""

import random
import string
import time

import pytest

from settings.commands.launch import launch
from settings.reading import files
from settings.schema.run_config import all_keys

NUMBERS = (
    *(
        "seed",
        "callbacks.ema.start_step",
        "callbacks.ema.every_n_steps",
        "data.split_seed",
        "data.val_fraction",
        "data.fraction",
    ),
    *("optimizer.lr", "optimizer.weight_decay", "scheduler.warmup_epochs", "loss.label_smoothing", "loss.l2"),
    *("trainer.max_epochs", "trainer.accumulate_grad_batches", "callbacks.early_stopping.patience"),
    *("callbacks.ema.decay", "callbacks.finite.every_n_steps", "trainer.check_val_every_n_epoch"),
)
NO_NUMBERS = ("abc", "'1'", "[1]", "{a: 1}", "true", "1e", "0x", "1 2", "null", ".nan", ".inf", "-1", "-0.5", "-.inf")
COMMAND_LINE = {".nan": "nan", ".inf": "inf", "-.inf": "-inf", "0x": "0x_", "{a: 1}": "{a:1}"}
"""How Hydra's grammar writes what YAML writes otherwise."""


def typo(word, draw):
    """The word with one letter left out, doubled, exchanged or added."""
    place = draw.randrange(len(word))
    letter = draw.choice(string.ascii_lowercase)
    return draw.choice(
        [
            word[:place] + word[place + 1 :],
            word[:place] + word[place] + word[place:],
            word[:place] + letter + word[place + 1 :],
            word[:place] + letter + word[place:],
        ]
    )


def nested(key, value):
    """`a.b: value` as YAML blocks."""
    parts = key.split(".")
    return "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(parts[:-1])) + (
        f"{'  ' * (len(parts) - 1)}{parts[-1]}: {value}\n"
    )


def broken_yaml(draw):
    """The bytes of a file that is no YAML mapping of plain values."""
    filler = "".join(draw.choices(string.ascii_lowercase, k=6))
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    return draw.choice(
        [
            f"seed: [1, {filler}\n",
            f"seed: {{{filler}: 1\n",
            f"seed: 1\n  {filler}: 2\n",
            f"\tseed: {filler}\n",
            f"seed: '{filler}\n",
            f"{filler}\nseed: 1\n",
            f"- {filler}\n- seed\n",
            f"{filler}",
            f"seed: 1\n{filler}: 2\nseed: 3\n",
            f"optimizer:\n  lr: 0.1\n  lr: 0.{draw.randrange(2, 9)}\n",
            f"seed: 1\n---\nseed: {draw.randrange(9)}\n",
            f"data: &{filler} [*{filler}]\n",
            f"data: &{filler}\n  root: *{filler}\n",
            f"{filler}: &x {{a: 1}}\ndata:\n  <<: *x\n",
            bomb + f"seed: {draw.randrange(9)}\n",
            f"seed: {'[' * draw.randrange(30, 3000)}\n",
            "".join(f"{' ' * depth}{filler}:\n" for depth in range(draw.randrange(25, 200))),
            f"seed: !!python/object/apply:os.system ['touch {filler}']\n",
            f"seed: !{filler} 1\n",
            f"name: ${{oc.env:{filler.upper()}}}\n",
            f"name: ${{{filler}}}\n",
            f"? [{filler}]\n: 1\n",
            f"seed: @{filler}\n",
            f"defaults:\n  - override /optimizer: {filler}\n",
            f"defaults:\n  - override /{filler}: sgd\n",
            "defaults:\n  - override /experiment: broken\n",
            f"defaults: {filler}\n",
        ]
    ).encode() + draw.choice([b"", b"", b"\n"])


def cases():
    """Five hundred: command line, and content of configs/experiment/broken.yaml or None."""
    draw, found = random.Random(0), {}

    def add(words, content=None):
        found.setdefault((tuple(words), content))

    known = set(all_keys())
    plain = [key for key in sorted(known) if "." in key and not key.startswith(("callbacks.", "augment."))]
    while len(found) < 110:
        section, _, last = draw.choice(plain).rpartition(".")
        key = f"{section}.{typo(last, draw)}"
        if key not in known and not key.endswith(".") and key.partition(".")[0] != "model":
            add([f"{key}={draw.randrange(9)}"])
    while len(found) < 150:
        group = draw.choice(["data", "model", "optimizer", "scheduler", "augment", "trainer", "callbacks", "logger"])
        choice = typo(draw.choice(files.choices(group)), draw)
        if choice and choice not in files.choices(group) and not choice[-1].isdigit():
            add([f"{group}={choice}"])
    pairs = [(key, value) for key in NUMBERS for value in NO_NUMBERS]
    draw.shuffle(pairs)
    for key, value in pairs[:110]:
        add([f"{key}={COMMAND_LINE.get(value, value)}"])
    for key, value in pairs[110:200]:
        add(["experiment=broken"], f"# @package _global_\n{nested(key, value)}".encode())
    while len(found) < 440:
        add(["experiment=broken"], b"# @package _global_\n" + broken_yaml(draw))
    while len(found) < 470:
        add(["experiment=broken"], b"# @package _global_\n" + draw.randbytes(draw.randrange(40, 4000)))
    while len(found) < 500:
        section, _, last = draw.choice(plain).rpartition(".")
        key = f"{section}.{typo(last, draw)}"
        if key not in known and not key.endswith(".") and key.partition(".")[0] != "model":
            add(["experiment=broken"], f"# @package _global_\n{nested(key, draw.randrange(9))}".encode())
    return list(found)


def wrong_answers(made, target, runs, capsys):
    """Of cases: those that did not end as they should; none may take long."""

    def never(config):
        raise AssertionError("a malformed configuration was run")

    wrong = []
    for words, content in made:
        if content is not None:
            target.write_bytes(content)
        start = time.perf_counter()
        code = launch(never, [*words, f"paths.runs={runs}"])
        seconds = time.perf_counter() - start
        said = capsys.readouterr().err
        if code != 2 or "Traceback" in said or not 1 <= len(said.splitlines()) <= 12 or seconds > 20:
            wrong.append((words, content and content[:80], code, said[-300:], seconds))
    return wrong


def test_malformed_command_lines(tmp_path, monkeypatch, capsys):
    made = [case for case in cases() if case[1] is None]
    assert len(cases()) == 500 == len(set(cases())) and len(made) == 260
    monkeypatch.chdir(tmp_path)
    assert wrong_answers(made, None, tmp_path / "runs", capsys) == []
    assert list(tmp_path.iterdir()) == [], "no run folder"


@pytest.mark.slow
def test_malformed_files(own_configs, tmp_path, monkeypatch, capsys):
    made = [case for case in cases() if case[1] is not None]
    assert len(made) == 240
    monkeypatch.chdir(tmp_path)
    assert wrong_answers(made, own_configs / "experiment" / "broken.yaml", tmp_path / "runs", capsys) == []
    assert [path.name for path in tmp_path.iterdir()] == ["configs"], "no run folder"
