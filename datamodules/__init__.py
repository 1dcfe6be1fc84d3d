"""Data sets and their way to the device; one data set a file."""
