"""Speed, measured against other libraries and against bare loops, side by side: see docs/speed.md."""
