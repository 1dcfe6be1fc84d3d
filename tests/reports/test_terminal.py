"""Tables on the screen: as wide as they are in a file, folded to a window, and never coloured."""

from reports import terminal


def test_numbers_stand_to_the_right_and_nothing_is_coloured(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert terminal.table_text(("a", "n"), [("x", 1000), ("yy", 5)]) == "a       n\nx   1,000\nyy      5"
    assert terminal.table_text(("a", "n"), [("[b]x", "0.5"), ("y", "–")]) == "a       n\n[b]x  0.5\ny       –"
    assert terminal.table_text(("a", "b"), []) == "a  b"


def test_a_file_has_a_row_on_a_line_and_a_window_folds_it(monkeypatch, capsys):
    row = ("word " * 60, "0.1")
    monkeypatch.delenv("COLUMNS", raising=False)
    terminal.print_table(("name", "value"), [row])
    assert len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.setenv("COLUMNS", "80")
    terminal.print_table(("name", "value"), [row])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 4 and max(map(len, lines)) <= 80
