import pytest

from models.class_weights import choose_class_weights
from settings.errors import UserError


def test_balanced_weights_are_scikit_learns():
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    counts = [90, 9, 1, 25]
    labels = np.repeat(np.arange(4), counts)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert choose_class_weights("balanced", counts) == pytest.approx(expected.tolist())
    assert sum(w * n for w, n in zip(choose_class_weights("balanced", counts), counts, strict=True)) == 125
    assert choose_class_weights("balanced", [4, 0]) == [0.5, 0.0]
    assert choose_class_weights("none", counts) is None
    assert choose_class_weights([1, 2, 3, 4], counts) == [1.0, 2.0, 3.0, 4.0]


def test_one_weight_a_class_or_both_numbers():
    with pytest.raises(UserError, match=r"loss\.class_weights has 3 weights, and the data has 4 classes"):
        choose_class_weights([1, 2, 3], [1, 1, 1, 1])
