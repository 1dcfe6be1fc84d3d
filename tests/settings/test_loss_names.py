from pathlib import Path

import pytest

from settings.schema import loss_names, signatures
from tests.settings.test_signatures import project  # noqa: F401

OWN = """
raise SystemExit("imported")
TARGETS = ("labels",)

def squared(logits, targets, *, power: Annotated[float, "x > 0"] = 2.0, ignore_index: int = -100): ...
"""


def test_every_loss_says_what_it_learns_from_and_has_a_function_of_its_name() -> None:
    for name in loss_names.known():
        assert set(loss_names.targets(name)) <= {"labels", "multilabels", "masks"} and loss_names.targets(name)
        assert not loss_names.FILLED_IN & set(signatures.names(loss_names.target(name), ours=loss_names.FILLED_IN))
    assert {"cross_entropy", "focal"} <= set(loss_names.learning_from("labels"))
    assert "dice" not in loss_names.learning_from("labels") and "dice" in loss_names.learning_from("masks")
    assert loss_names.takes("focal", "class_weights") and not loss_names.takes("dice", "class_weights")


def test_a_forkers_loss_is_one_file_that_is_read_and_not_imported(project: Path) -> None:  # noqa: F811
    (project / "models" / "losses" / "squared.py").write_text(OWN)
    assert "squared" in loss_names.known() and loss_names.targets("squared") == ("labels",)
    target = loss_names.target("squared")
    ((name, wrong),) = signatures.mistakes(target, {"power": 0.0}, ours=loss_names.FILLED_IN)
    assert name == "power" and "more than 0" in str(wrong)
    assert list(signatures.mistakes(target, {"power": 1.5}, ours=loss_names.FILLED_IN)) == []
    assert signatures.module_value("models.losses.squared", "OTHER") is None
    with pytest.raises(signatures.NotFoundInSource):
        loss_names.targets("square")
