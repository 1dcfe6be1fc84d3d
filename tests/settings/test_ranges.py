"""The notes of annotations against Python itself: a note says nothing exactly where it is true of the value."""

import pytest

from settings.ranges import broken

NOTES = {
    "x >= 1": ([0, 0.5, -3], [1, 1.0, 7]),
    "x > 0": ([0, -1e-9], [1e-9, 5]),
    "x < 2": ([2, 3], [1.9]),
    "x <= 2": ([2.1], [2, -4]),
    "0 <= x < 1": ([-0.1, 1], [0, 0.99]),
    "0 < x <= 1": ([0, 1.1], [1, 0.01]),
    "0.01 <= x <= 100": ([0, 101], [0.01, 100]),
    "x % 6 == 2": ([7, 9], [8, 14]),
    "x % 2 == 1": ([2], [1, 3]),
    "len(x) >= 1": ([[]], [[3], [3, 3]]),
    "len(x) == 2": ([[], [1, 2, 3]], [[1, 1]]),
    "len(set(x)) == 3": ([[1, 2, 2], [1, 2]], [[3, 1, 2]]),
}


@pytest.mark.parametrize("note", NOTES)
def test_a_note_is_what_python_makes_of_it(note: str) -> None:
    wrong, right = NOTES[note]
    for value in [*wrong, *right]:
        assert (broken(note, value) is None) is eval(note, {"x": value}) is (value in right), value


@pytest.mark.parametrize(
    ("note", "value", "words"),
    [
        ("x >= 1", 0, "at least 1"),
        ("0 <= x <= 30", 31, "from 0 to 30"),
        ("0 < x < 1", 0, "more than 0 and less than 1"),
        ("x % 6 == 2", 21, "6n + 2, such as 20 or 26"),
        ("x % 2 == 1", 4, "odd, such as 3 or 5"),
        ("len(x) >= 1", [], "a list of at least 1"),
        ("len(x) == 3", [1], "a list of 3"),
        ("len(set(x)) == 5", [1, 1], "a list of 5 different entries"),
    ],
)
def test_what_is_asked_for_is_said(note: str, value: object, words: str) -> None:
    assert broken(note, value) == words


def test_other_texts_are_for_other_readers() -> None:
    assert broken("in pixels", 3) is None
