"""Every notebook runs from its own folder, and is committed without outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def execute(path, runs):
    """Run a notebook with its runs going to another folder; return its code cells."""
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source, replaced = re.subn(r'^runs = root / "runs"$', f"runs = Path({str(runs)!r})", first.source, flags=re.M)
    assert replaced == 1
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cells):
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert cell.cell_type != "code" or (cell.outputs == [] and cell.execution_count is None)


def test_first_run_trains_reads_and_shows(tmp_path):
    cells = execute(FOLDER / "01_first_run.ipynb", tmp_path)
    match = re.search(r"recomputed test accuracy (\S+), recorded (\S+)", printed(cells))
    recomputed, recorded = map(float, match.groups())
    assert recomputed == pytest.approx(recorded, abs=1e-4)
    assert recorded > 0.9
    pictures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    assert len(list(tmp_path.glob("*/*/summary.json"))) == 1


@pytest.mark.slow
def test_transfer_beats_scratch_on_few_images(tmp_path):
    cells = execute(FOLDER / "02_transfer_learning.ipynb", tmp_path)
    rows = re.findall(r"^(\w+) +test accuracy (\S+) +\((\S+), (\S+), (\S+)\)$", printed(cells), flags=re.MULTILINE)
    means = {mode: float(mean) for mode, mean, *_ in rows}
    assert list(means) == ["scratch", "head_only", "full"]
    assert means["full"] > means["scratch"] > 0.7
    text = "".join(cell.source for cell in nbformat.read(FOLDER / "02_transfer_learning.ipynb", as_version=4).cells)
    for mode, mean, *draws in rows:
        told = re.search(rf"^\| `{mode}` \| (\S+) \| (.+) \|$", text, flags=re.MULTILINE)
        assert float(mean) == pytest.approx(float(told[1]), abs=0.04), "the table in the notebook"
        assert [float(value) for value in told[2].split(", ")] == pytest.approx(list(map(float, draws)), abs=0.08)
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs) == 1
    assert len(list(tmp_path.glob("*/*/summary.json"))) == 10
