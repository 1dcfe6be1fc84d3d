"""What nets reached on which data, by the run folders there are."""

from collections.abc import Iterable
from pathlib import Path
from statistics import mean

from reports.comparison.runs import read_run


def accuracies_of_nets(folders: Iterable[Path], *, data: str | None = None) -> dict[str, str]:
    """Net -> mean test accuracy and number of its runs, for each data set: `digits 0.9944 (3)`.

    Args:
        folders: of runs, in any state; those without a test are passed over.
        data: name of the only data set of interest.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for folder in folders:
        run = read_run(folder)
        name, accuracy = str(run.config.get("data.name")), run.metrics.get("test/accuracy")
        if accuracy is not None and data in (None, name):
            found.setdefault(str(run.config.get("model.name")), {}).setdefault(name, []).append(accuracy)
    return {
        net: ", ".join(f"{name} {mean(values):.4f} ({len(values)})" for name, values in sorted(by_data.items()))
        for net, by_data in found.items()
    }
