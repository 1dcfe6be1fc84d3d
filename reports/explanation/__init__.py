"""What explain.py shows: maps of where a net looks, and their page."""
