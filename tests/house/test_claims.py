"""Every experiment carries its claim in its header: measured numbers, and the command that gives them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CLAIM = {
    "goal": r"\S.*",
    "command": r"python train\.py .*experiment={name}\b.*",
    "hardware": r"\S.*",
    "minutes": r"\d+(\.\d+)?\b.*",
    "result": r"\S+ mean \d+\.\d+, range \d+\.\d+ to \d+\.\d+ over ([3-9]|\d\d+) seeds\b.*",
    "date": r"20\d\d-[01]\d-[0-3]\d",
}


def claim_problems(name: str, text: str) -> list[str]:
    """What the claim of an experiment file lacks: `# key: value` lines before the first YAML key."""
    header = re.split(r"^[^#\s]", text, maxsplit=1, flags=re.MULTILINE)[0]
    lines = dict(re.findall(r"^#\s*(\w+):[ \t]*(.*?)[ \t]*$", header, flags=re.MULTILINE))
    patterns = {key: pattern.format(name=name) if key == "command" else pattern for key, pattern in CLAIM.items()}
    return [
        f"{name}: wants `# {key}: ` like {pattern!r}, has {lines.get(key)!r}"
        for key, pattern in patterns.items()
        if not re.fullmatch(pattern, lines.get(key, ""))
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "configs/experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_carries_its_claim(path):
    assert claim_problems(path.stem, path.read_text(encoding="utf-8")) == []


def test_a_claim_with_a_gap_is_found():
    whole = "\n".join(
        [
            "# @package _global_",
            "# goal: at least 0.9 with a small net",
            "# command: python train.py experiment=a",
            "# hardware: two CPU cores",
            "# minutes: 1.5 a seed",
            "# result: test/accuracy mean 0.9012, range 0.8990 to 0.9031 over 3 seeds (0, 1, 2)",
            "# date: 2026-11-22",
            "defaults:\n",
        ]
    )
    assert claim_problems("a", whole) == []
    assert claim_problems("b", whole), "the command names another experiment"
    for key in CLAIM:
        without = re.sub(rf"# {key}: .*\n", "", whole)
        assert len(claim_problems("a", without)) == 1, key
        assert len(claim_problems("a", without + f"# {key}: too late\n")) == 1, key
        assert len(claim_problems("a", re.sub(rf"# {key}: .*", f"# {key}: ", whole))) == 1, key
    assert claim_problems("a", whole.replace("over 3 seeds", "over 1 seeds"))
