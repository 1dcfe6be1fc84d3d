"""Two gloo processes, stopped by a signal to the second, go on to the undisturbed pair's bits."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.resume_pair import CELLS
from tests.reliability.test_exact_resume import assert_same_end, summary

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    words = ["-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "tests.reliability.resume_pair", str(folder)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("case", list(CELLS))
def test_a_pair_goes_on_to_the_same_bits(case: str, runs: Path) -> None:
    whole, cut = f"{case}-whole", f"{case}-cut"
    assert_same_end(runs, whole, cut)
    one, other = (next(runs.glob(f"*/{name}/metrics.csv")).read_text() for name in (whole, cut))
    assert one == other
    found, again = summary(runs, whole), summary(runs, cut)
    assert (found["resumes"], again["resumes"], again["status"], again["world_size"]) == (0, 1, "finished", 2)
    for key in ("metrics", "best_epoch", "epochs", "steps"):
        assert found[key] == again[key], key
