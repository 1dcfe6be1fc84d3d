"""Standard output that goes away ends nothing, and what is printed before is whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from settings.commands.output import lasting_output

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, sys
from settings.commands.launch import launch

def run(config):
    for number in range(20_000):
        print("line", number, flush=number % 7 == 0)
    print("an error", file=sys.stderr, flush=True)
    os.system("echo a program of its own")
    with open(sys.argv[1], "w") as file:
        file.write("done")

sys.exit(launch(run, [], compose_jobs=lambda overrides, multirun: [type("Job", (), {"dropped_augment": ()})()]))
"""


@pytest.mark.parametrize(
    "command", ["{work} | head -3", "{work} 2>&1 | head -3", "{work} >&-", "{work} >&- 2>&-", "{work} </dev/null"]
)
def test_the_work_goes_on_and_ends_well(command: str, tmp_path: Path) -> None:
    end, script = tmp_path / "end", tmp_path / "work.py"
    script.write_text(WORK)
    line = f"set -o pipefail; {command.format(work=f'{sys.executable} {script} {end}')}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, end.read_text()) == (0, "done"), done.stderr
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr
    if "head" in command:
        assert done.stdout.splitlines() == ["line 0", "line 1", "line 2"]


def test_the_streams_are_put_back_and_keep_their_own_ways(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with lasting_output():
        assert sys.stdout is not before[0] and sys.stdout.isatty() is False
        assert sys.stdout.encoding == before[0].encoding
        print("heard")
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "heard\n"
