"""The command line of each script."""
