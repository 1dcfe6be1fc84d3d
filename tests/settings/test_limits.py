"""Ranges in signatures: read, kept and said."""

import itertools

import pytest

from settings.schema.limits import describe, read_limits, within

NOTES = {
    "0 <= x < 1": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
    "1 <= x <= 1000000": (lambda x: 1 <= x <= 1_000_000, "from 1 to 1000000"),
    "x >= 1": (lambda x: x >= 1, "at least 1"),
    "x > 0": (lambda x: x > 0, "above 0"),
    "0.1 < x <= 1": (lambda x: 0.1 < x <= 1, "above 0.1 and at most 1"),
    "x < -1e-3": (lambda x: x < -1e-3, "below -0.001"),
}


@pytest.mark.parametrize("note", NOTES)
def test_a_note_is_the_comparison_that_it_says(note):
    keeps, words = NOTES[note]
    limits = read_limits(note)
    assert describe(limits) == words
    for value in itertools.chain(range(-2, 3), (-0.001, 0.1, 0.5, 1_000_000, 1_000_001)):
        assert within(value, limits) == keeps(value), value


@pytest.mark.parametrize("note", ["a share", "y < 1", "", None, 3])
def test_other_notes_are_for_other_readers(note):
    assert read_limits(note) is None
