"""Two real processes over gloo find what one finds, and leave one run behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.process_group import Members
from settings.reading.compose import compose
from tests.reliability.pair import COUNTS, SMALL, scores

ROOT = Path(__file__).resolve().parents[2]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], str]:
    folder = tmp_path_factory.mktemp("pair")
    done = command(*("-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "tests.reliability.pair", str(folder)))
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]
    return folder, ranks, done.stdout


def test_one_to_forty_images_score_on_two_processes_as_on_one(pair: Any) -> None:
    alone = scores(compose(SMALL), Members())
    for rank in pair[1]:
        for key, expected in alone.items():
            found = rank["scores"][key]
            assert torch.equal(found["counts"], expected["counts"]), key
            for name, value in expected["metrics"].items():
                exact = 1e-6 if name.endswith("loss") else 1e-12
                assert found["metrics"][name] == pytest.approx(value, abs=exact), (key, name)
            if "labels" in expected:
                assert torch.equal(found["labels"], expected["labels"]), f"{key}: padding is dropped, order is kept"
                assert found["hard"] == expected["hard"]
    assert len(alone) == 2 * len(COUNTS)


def test_two_processes_end_with_the_same_weights_and_one_folder(pair: Any) -> None:
    folder, (first, second), output = pair
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    (run,) = (folder / "runs").glob("*/*")
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["world_size"], summary["steps"]) == ("finished", 2, 30)
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in first["weights"].items())
    assert output.splitlines()[-1] == f"run: {run}"
    assert output.count("run: ") == 1 and output.count("epoch 2/2") == 1
