"""The page of `python compare.py` in a real browser, as `tests/reports/test_report_in_browser.py` opens a report."""

import shutil

import pytest

from compare import compare
from tests.reports.test_report_in_browser import WIDTHS, browser, report

pytestmark = pytest.mark.slow
__all__ = ["browser", "report"]  # fixtures


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_a_comparison_opens_the_same_way(browser, report, width, tmp_path):
    folder = report.parent
    for seed in (1, 2):
        copied = shutil.copytree(folder, folder.with_name(f"seed {seed}"), dirs_exist_ok=True)
        config = (copied / "config.yaml").read_text(encoding="utf-8")
        config = config.replace("\nseed: 0", f"\nseed: {seed}").replace("\n  width: 4", f"\n  width: {4 * seed}")
        (copied / "config.yaml").write_text(config, encoding="utf-8")
    page = tmp_path / "comparison.html"
    compare(f"paths.runs={folder.parents[1]}", "columns=optimizer.lr,command", f"output={page}")
    found = browser.open(page.as_uri(), width=width, scheme="dark" if width == 900 else "light")
    assert found["loaded"] == "complete" and found["complaints"] == [] and found["fetched"] == []
    assert found["images"] == 5 and found["missing"] == [] and found["hidden"] == 0
    assert found["wide"] <= width and found["sticking_out"] == [] and found["smallest"] >= 11
