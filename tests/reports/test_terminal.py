"""Tables on the screen: as wide as they are in a file, folded to a window, and never coloured."""

import io
import sys

from reports import terminal


def test_numbers_stand_to_the_right_and_nothing_is_coloured(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert terminal.table_text(("a", "n"), [("x", 1000), ("yy", 5)]) == "a       n\nx   1,000\nyy      5"
    assert terminal.table_text(("a", "n"), [("[b]x", "0.5"), ("y", "–")]) == "a       n\n[b]x  0.5\ny       –"
    assert terminal.table_text(("a", "b"), []) == "a  b"


def test_a_file_has_a_row_on_a_line_and_a_window_folds_it(monkeypatch, capsys):
    row = ("word " * 60, "0.1")
    monkeypatch.setenv("COLUMNS", "80")
    terminal.print_table(("name", "value"), [row])
    assert len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal.print_table(("name", "value"), [row])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 4 and max(map(len, lines)) <= 80


def test_what_takes_long_says_how_far_it_is_and_what_is_quick_says_nothing(monkeypatch, capsys):
    assert list(terminal.progress(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(terminal, "PAUSE", 0.0)
    assert list(terminal.progress(iter("ab"), "letters", total=2)) == ["a", "b"]
    assert capsys.readouterr() == ("", "letters: 1 of 2\nletters: 2 of 2\n")
    with terminal.working("writing a.onnx"):
        assert capsys.readouterr() == ("", "writing a.onnx ...\n")


def test_a_terminal_gets_a_bar_that_is_gone_afterwards(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert list(terminal.progress(iter("ab"), "letters", total=2)) == ["a", "b"]
    with terminal.working("writing"):
        pass
    text = screen.getvalue()
    assert "2/2" in text and "writing" in text and "0:00:0" in text and text.endswith("\x1b[2K")
