"""What stands beside exported weights in the layout of a hub of models: config.json and README.md, the model card.

The card begins with the YAML block that such a hub reads: task, tags, results.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.predictions import written_whole
from settings.errors import UserError

CARD, ABOUT = "README.md", "config.json"
MARK = "<!-- written by predict.py export=safetensors -->"
PIPELINES = {"class": "image-classification", "labels": "image-classification", "mask": "image-segmentation"}
"""What a task predicts -> what a hub calls that."""


def refuse_others(file: Path) -> None:
    """Keep what somebody else wrote where the card and its data would go.

    Raises:
        UserError: there is such a file.
    """
    for name in (CARD, ABOUT):
        there = file.with_name(name)
        if there.exists() and not _is_ours(there):
            raise UserError(f"output={file}: beside it lies a {name} of another kind; name a folder of its own")


def write_card(file: Path, about: Mapping[str, Any], summary: Mapping[str, Any], *, data: str, target: str) -> None:
    """Write both beside the weights.

    Args:
        file: the weights.
        about: what the exported file says of itself.
        summary: the run's summary.json; empty where there is none.
        data: name of the data set.
        target: a key of `PIPELINES`.
    """
    plain = {"architecture": about["model"]["name"], "num_classes": about["model"]["num_classes"], **about}
    with written_whole(file.with_name(ABOUT), "output") as text:
        text.write(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    with written_whole(file.with_name(CARD), "output") as text:
        text.write(card(file.name, about, summary, data=data, target=target))


def card(weights: str, about: Mapping[str, Any], summary: Mapping[str, Any], *, data: str, target: str) -> str:
    """The text of the model card.

    Args:
        weights: name of the file.
        about: what the exported file says of itself.
        summary: the run's summary.json; empty where there is none.
        data: name of the data set.
        target: a key of `PIPELINES`.
    """
    import yaml

    name, preprocessing = about["model"]["name"], about["preprocessing"]
    scores = {key: value for key, value in (summary.get("metrics") or {}).items() if key.startswith("test/")}
    head: dict[str, Any] = {"tags": [PIPELINES[target], "pytorch", "lightbox"], "pipeline_tag": PIPELINES[target]}
    if scores:
        found = [{"type": key.partition("/")[2], "name": key, "value": value} for key, value in scores.items()]
        results = [{"task": {"type": PIPELINES[target]}, "dataset": {"type": data, "name": data}, "metrics": found}]
        head["model-index"] = [{"name": name, "results": results}]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        MARK,
        "",
        f"# {name}",
        "",
    ]
    lines += [f"A `{name}` with {about['model']['num_classes']} outputs, trained on {data}.", ""]
    if scores:
        lines += ["| metric | value |", "|---|---|", *(f"| {key} | {value:.4f} |" for key, value in scores.items()), ""]
        if interval := summary.get("test/accuracy_interval"):
            lines += [f"95 % interval of the accuracy (Wilson): {interval[0]:.4f} to {interval[1]:.4f}.", ""]
    size, mean, std = preprocessing["image_size"], preprocessing["mean"], preprocessing["std"]
    lines += [
        f"- **Input**: float32 (B, {len(mean)}, {size}, {size}): pixels from 0 to 1, minus {list(mean)}, divided by "
        f"{list(std)}.",
        f"- **Output**: logits {tuple(about['output']['shape'])}; `{about['output']['probabilities']}`.",
        f"- **Classes**, in this order: {', '.join(about['class_names'])}.",
        f"- **Trained by**: `{summary.get('command', 'train.py')}`",
        "- **Licence**: not named yet; name yours here and in the block on top.",
        "",
        "## Use it",
        "",
        "From a checkout of the project that trained it:",
        "",
        "    from pathlib import Path",
        "    from models.export import read_weights",
        "",
        f'    net, about = read_weights(Path("{weights}"))',
        "    logits = net(images)",
        "",
        f"As a start: `python train.py model={name} model.weights=FILE transfer=full`. `{ABOUT}` says how the net is "
        "built.",
    ]
    return "\n".join(lines) + "\n"


def _is_ours(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return MARK in text if path.name == CARD else '"architecture"' in text and '"class_names"' in text
