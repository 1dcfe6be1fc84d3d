"""Two processes over gloo find exactly what one finds, whoever has the images."""

import json
import math
import subprocess
import sys
from pathlib import Path

from tests.models.metrics.pair import CASES, CHOSEN, images, values

ROOT = Path(__file__).resolve().parents[3]


def test_two_processes_find_exactly_what_one_finds(tmp_path: Path) -> None:
    alone = values([images()], 1)
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.models.metrics.pair",
                tmp_path / "store",
                str(rank),
                tmp_path / f"{rank}.json",
            ],
            cwd=ROOT,
        )
        for rank in (0, 1)
    ]
    try:
        assert [process.wait(timeout=120) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for case in CASES:
        for rank in found:
            if case == "none":
                assert all(math.isnan(value) for value in rank[case].values()) and rank[case].keys() == CHOSEN.keys()
            else:
                assert rank[case] == alone, case
