"""The configuration: its schema, how it is read and checked, and what everything else stands on; no torch."""
