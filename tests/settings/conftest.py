import copy
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from settings.reading import composition, files


@pytest.fixture(scope="session", autouse=True)
def shipped_files_are_merged_once() -> Iterator[None]:
    """Hydra takes a tenth of a second to merge our files; hundreds of tests start from the same few."""
    shipped, merge, known = files.FOLDER, composition._merge, {}

    def remembered(chosen: Mapping[str, str | None], result: composition.Composition) -> dict[str, Any]:
        if shipped != files.FOLDER:
            return merge(chosen, result)
        key = tuple(sorted(chosen.items(), key=str))
        if key not in known:
            known[key] = merge(chosen, result)
        return copy.deepcopy(known[key])

    composition._merge = remembered
    yield
    composition._merge = merge


@pytest.fixture
def own_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of configs/ that a test may write into."""
    copied = tmp_path / "configs"
    shutil.copytree(files.FOLDER, copied, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.setattr(files, "FOLDER", copied)
    return copied
