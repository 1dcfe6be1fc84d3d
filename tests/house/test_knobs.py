"""Every knob in our files of the configuration has a comment that says what it does."""

import pytest
import yaml

from settings.reading import files

GROUPS = ("optimizer", "scheduler", "transfer", "logger", "trainer", "callbacks", "data")


@pytest.mark.parametrize(("group", "choice"), [(group, one) for group in GROUPS for one in files.choices(group)])
def test_every_knob_has_a_comment(group: str, choice: str) -> None:
    text = (files.FOLDER / group / f"{choice}.yaml").read_text()
    content = yaml.safe_load(text)
    for line in text.splitlines():
        key = line.partition(":")[0]
        if key in content and key not in ("name", "_target_") and not isinstance(content[key], dict):
            assert "#" in line, line
