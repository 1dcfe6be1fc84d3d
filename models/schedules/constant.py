"""The learning rate stays."""


def constant() -> float:
    """1."""
    return 1.0
