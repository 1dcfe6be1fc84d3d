"""The whole default suite of a fork to which all usual things were added, under another name."""

import pytest

from tests.house.copies import ADDITIONS, Copy, rename


@pytest.mark.slow
def test_a_fork_with_all_of_it_and_another_name_is_green(tmp_path):
    copy = Copy(tmp_path)
    for add in ADDITIONS:
        add(copy)
    rename(copy)
    copy.assert_green()
