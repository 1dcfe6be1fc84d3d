"""Run folders side by side: read, grouped by what differs, tested pair by pair, shown; no torch."""
