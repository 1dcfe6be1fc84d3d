"""The whole default suite of a fork from which every island was taken away, as docs/strip.md says it."""

import pytest

from tests.house.copies import without_islands


@pytest.mark.slow
def test_a_fork_without_islands_is_green(tmp_path):
    without_islands(tmp_path).assert_green()
