"""The docstrings of our transfer modes are method cards."""

import pytest

from models.transfer import MODES


@pytest.mark.parametrize("mode", list(MODES))
def test_every_mode_has_a_card(mode):
    for part in ("Idea: ", "When: ", "Cost: ", "Source: "):
        assert part in (MODES[mode].__doc__ or ""), part
