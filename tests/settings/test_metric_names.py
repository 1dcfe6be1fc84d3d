from pathlib import Path

import pytest

from settings.schema import metric_names, signatures
from tests.settings.test_signatures import project  # noqa: F401

KINDS = ("Multiclass", "Multilabel", "Binary")
OWN = """
raise SystemExit("imported")

class HitDistance(Metric):
    higher_is_better = False

    def __init__(self, *, num_classes: int, power: Annotated[float, "x > 0"] = 2.0): ...
"""


@pytest.mark.parametrize("kind", KINDS)
def test_directions_and_parameters_are_those_of_the_imported_classes(kind: str) -> None:
    import inspect

    from torchmetrics import classification

    ours = set(metric_names.known(""))
    found = {name: metric_names.find(name, kind) for name in metric_names.known(kind) if name not in ours}
    for metric in found.values():
        assert metric is not None
        cls = getattr(classification, metric.target.rpartition(".")[2])
        assert metric.direction == {True: "max", False: "min", None: None}[cls.higher_is_better]
        takes = {**inspect.signature(cls).parameters}
        assert metric.parameters.keys() == takes.keys() - metric_names.FILLED_IN
        for name, parameter in metric.parameters.items():
            assert parameter.required == (takes[name].default is inspect.Parameter.empty)
    wanted = {cls for cls in classification.__all__ if cls.startswith(kind)}
    assert {metric.target.rpartition(".")[2] for metric in found.values() if metric} == wanted


def test_names_are_compared_without_underscores_and_case() -> None:
    for name in ("cohen_kappa", "CohenKappa", "cohenkappa"):
        metric = metric_names.find(name, "Multiclass")
        assert metric is not None and metric.target == "torchmetrics.classification.MulticlassCohenKappa"
        assert metric.direction == "max"  # that of torchmetrics' CohenKappa is unknown
    calibration = metric_names.find("calibration_error", "Multiclass")
    assert calibration is not None and calibration.direction == "min"
    assert metric_names.find("cohen_kappa", "Multilabel") is None
    assert metric_names.find("cohen_kappa", "") is None and metric_names.find("multiclass_auroc", "Multiclass") is None


def test_arguments_are_checked_against_the_signature() -> None:
    metric = metric_names.find("f1_score", "Multiclass")
    assert metric is not None
    assert list(metric_names.mistakes(metric, {"average": "micro", "top_k": 2})) == []
    found = dict(metric_names.mistakes(metric, {"average": "mean", "averag": "micro", "num_classes": 3}))
    assert "micro, macro, weighted" in str(found["average"])
    assert found["averag"] is None and found["num_classes"] is None
    recall = metric_names.find("recall_at_fixed_precision", "Multiclass")
    assert recall is not None
    assert "needed" in str(dict(metric_names.mistakes(recall, {}))["min_precision"])


def test_a_forkers_metric_is_one_file_that_is_read_and_not_imported(project: Path) -> None:  # noqa: F811
    (project / "models" / "metrics" / "hit_distance.py").write_text(OWN)
    assert "hit_distance" in metric_names.known("Multiclass")
    metric = metric_names.find("hit_distance", "Multilabel")
    assert metric is not None and metric.target == "models.metrics.hit_distance.HitDistance"
    assert metric.direction == "min" and list(metric.parameters) == ["power"]
    assert "more than 0" in str(dict(metric_names.mistakes(metric, {"power": 0.0}))["power"])
    (project / "models" / "metrics" / "hit_distance.py").write_text("class Other: ...")
    signatures._ancestry.cache_clear()
    with pytest.raises(signatures.NotFoundInSource, match="no class HitDistance"):
        metric_names.find("hit_distance", "Multiclass")
