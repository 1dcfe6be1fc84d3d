"""The data set, and where there are weights how it is like what they have seen."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.data_and_task import build_data, build_task
from engine.looks.results import train_line, write
from settings.commands.explore import Exploration
from settings.errors import UserError
from settings.weight_files import is_file

if TYPE_CHECKING:
    from models.analysis.separability import Probe
    from settings.schema.run_config import RunConfig


def look(job: Exploration, *, overview: Callable[..., Any], sample: Callable[..., Any]) -> None:
    """Say what there is to know, and write all findings as JSON.

    Args:
        job: what to look at.
        overview: the facts of a data module (`datamodules.overview`).
        sample: some images of each class: (targets, keys, how many) -> int64 indices.
    """
    from dataclasses import asdict

    from models.analysis import advice
    from reports.terminal import print_table, working

    config = job.config
    data, preprocessing, missing = data_for(config)
    with working("looking through the files"):
        facts, counts = overview(data), data.class_counts()
    print("\n".join(facts.lines()), flush=True)
    probes, words = probes_of(job, data, preprocessing, missing, sample)
    findings = {"schema": 1, "overview": facts.to_plain(), "probes": None, "advice": None, "missing": words}
    settings = {}
    if probes:
        similar, closed = advice.similarity(*probes.values())
        found = advice.advise(counts, similar, optimizer=config.optimizer.name)
        print_table(advice.COLUMNS, advice.rows(probes))
        print("\n".join(advice.said(probes, found, closed)))
        findings |= {"probes": {name: asdict(one) for name, one in probes.items()}, "advice": asdict(found)}
        findings |= {"similarity": similar, "share_of_error_taken_away": closed}
        settings = found.settings
    else:
        print("\n".join([*advice.blind(counts), *(f"not compared: {word}" for word in words)]))
        settings = advice.first_settings(counts, config.transfer.name, config.optimizer.name)
    unread = not probes and is_file(config.model.weights)  # the reason stands above
    line = train_line(config, ("model.weights", "transfer") if unread else (), **settings)
    if unread:
        print(f"without {config.model.weights}, type: {line}")
    else:
        print(f"{'to type' if probes or config.model.weights == 'none' else 'with the weights, type'}: {line}")
    findings["command"] = line
    text = json.dumps(findings, indent=2, ensure_ascii=False)
    write(job.output, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    print(f"findings: {job.output}", flush=True)


def data_for(config: "RunConfig") -> tuple[Any, Any, list[str]]:
    """Data and preprocessing; without those of the weights where there are none, and then why."""
    try:
        return *build_data(config), []
    except UserError as error:
        if config.model.weights == "none":
            raise
        return *build_data(untrained(config)), list(error.messages)


def probes_of(
    job: Exploration, data: Any, preprocessing: Any, missing: list[str], sample: Callable[..., Any]
) -> tuple[dict[str, "Probe"], list[str]]:
    """How well three kinds of features separate the classes; or none, and what is missing for it."""
    from models.analysis.separability import compare_features
    from models.normalisation import Normalise
    from reports.terminal import working

    config, train = job.config, data.splits["train"]
    if config.model.weights == "none":
        return {}, ["no weights are named; add model=NAME of torchvision or timm, or model.weights=FILE"]
    if missing:
        return {}, missing
    try:
        pretrained = build_task(config, data, preprocessing).net
    except UserError as error:
        return {}, list(error.messages)
    nets = {"pretrained": pretrained, "untrained": build_task(untrained(config), data, preprocessing).net}
    chosen = sample(train.targets, train.keys, job.own.sample)
    with working("comparing features"):
        found = compare_features(
            nets,
            [data.plain_batch("train", part)[0] for part in chosen.split(64)],
            train.targets[chosen],
            prepare=Normalise(data.effective_preprocessing),
        )
    return (found, []) if found else ({}, ["a class has fewer than two training images"])


def untrained(config: "RunConfig") -> "RunConfig":
    """The same with weights at random."""
    model = config.model.model_copy(update={"weights": "none", "pretrained": False})
    return config.model_copy(update={"model": model})
