"""How much an image of each class counts in the loss."""

from collections.abc import Sequence

from settings.errors import UserError


def choose_class_weights(choice: str | Sequence[float], counts: Sequence[int]) -> list[float] | None:
    """The weight of each class that `loss.class_weights` asks for; None where all are equal.

    Args:
        choice: "none"; "balanced": n / (K n_k), as scikit-learn has it, which is 1 on average over the images;
            or one weight a class.
        counts: training images n_k of each of the K classes. A class without any gets 0.

    Raises:
        UserError: not one weight a class.
    """
    if choice == "none":
        return None
    if choice == "balanced":
        return [sum(counts) / (len(counts) * count) if count else 0.0 for count in counts]
    assert not isinstance(choice, str), choice
    if len(choice) != len(counts):
        raise UserError(f"loss.class_weights has {len(choice)} weights, and the data has {len(counts)} classes")
    return [float(weight) for weight in choice]
