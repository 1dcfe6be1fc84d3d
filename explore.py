"""Look before training: `python explore.py do=lr data=fashion_mnist model=resnet20`.

`python explore.py --help` lists what there is to look at. Everything that `train.py` takes is taken here, too.
"""

import csv
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.explore import Exploration, compose_jobs, format_help
from settings.commands.launch import launch
from settings.errors import UserError
from settings.whole_file import writing

if TYPE_CHECKING:
    from models.analysis.separability import Probe
    from settings.schema.run_config import RunConfig


def explore(*overrides: str) -> list[Path]:
    """Do as `python explore.py OVERRIDES` does; return the files.

    Raises:
        UserError: a mistake in the overrides, or data that is not there.
    """
    return [run(job) for job in compose_jobs(overrides, multirun=False)]


def run(job: Exploration) -> Path:
    """Look at the topic of the job; return the file that was written. Random states are left as they were."""
    from lightning.pytorch.utilities.seed import isolate_rng

    with isolate_rng():
        LOOK[job.do](job)
    return job.output


def look_at_recipe(job: Exploration) -> None:
    """Draw one recipe: a batch of training images, and the same batch at the first training steps."""
    from datamodules.randomness import permutation
    from engine.data_and_task import build_data
    from models.tasks import task_class
    from reports.contact_sheet import Row, contact_sheet

    images = job.own.images
    data, _ = build_data(job.config, batch_size=images)
    chosen = permutation(len(data.splits["train"]), seed=job.config.seed, epoch=0)[:images]
    original, *drawn = data.drawn_batches(chosen, draws=job.own.draws)
    task = task_class(job.config.chosen_task)
    titled = [("original", original), *((f"step {step}", batch) for step, batch in enumerate(drawn))]
    rows = [Row(name, task.labelled(*batch), batch[1]) for name, batch in titled]
    figure = contact_sheet(
        rows,
        data.class_names,
        title=f"augment: {job.recipe} on {job.config.data.name}, seed {job.config.seed}",
        notes=recipe_text(job.config),
    )
    write(job.output, lambda path: figure.savefig(path, dpi=144))
    print(f"sheet: {job.output}", flush=True)


def look_for_rate(job: Exploration) -> None:
    """The learning-rate range test, or several rates compared; a picture and a table."""
    from engine.data_and_task import build_data, build_task, choose_precision
    from engine.lr_charts import comparison_chart, range_chart
    from engine.lr_finder import best_rate, compare_rates, range_said, range_test, suggest

    config, own = job.config, job.own
    data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    choose_precision(config, data, task)
    about = {"base": config.optimizer.lr, "steps": own.steps, "arguments": config.trainer.lightning_arguments()}
    title = f"{config.model.name} on {config.data.name}, {config.optimizer.name}, batch size {config.data.batch_size}"
    if own.rates:
        curves = compare_rates(task, data, own.rates, **about)
        said, found, chart = (
            [curve.said() for curve in curves],
            best_rate(curves),
            comparison_chart(curves, title=title),
        )
    else:
        curve = range_test(task, data, lowest=own.lowest, highest=own.highest, **about)
        curves, suggestion = [curve], suggest(curve.rates, curve.smoothed)
        said, found, chart = (
            range_said(curve, own.steps, suggestion),
            None,
            range_chart(curve, suggestion, title=title),
        )
        if suggestion:
            found = suggestion.tenth
    print("\n".join(said))
    if found is None:
        print("no suggestion: the loss did not fall; try a smaller lowest=, or more steps=")
    else:
        print(f"to type: {train_line(config, **{'optimizer.lr': f'{found:.2g}'})}")
    rows = [
        (f"{rate:.6g}", step, f"{loss:.6g}", f"{mean:.6g}")
        for curve in curves
        for step, (rate, loss, mean) in enumerate(zip(curve.rates, curve.losses, curve.smoothed, strict=True), start=1)
    ]
    table = job.output.with_suffix(".csv")
    write_table(table, ("lr", "step", "loss", "running_mean"), rows)
    write(job.output, lambda path: chart.savefig(path, dpi=144))
    print(f"numbers: {table}\npicture: {job.output}", flush=True)


def look_for_batch_size(job: Exploration) -> None:
    """The largest batch that fits, and the speed of each size that was tried; a table."""
    from engine.batch_finder import largest_batch, recommended, sizes_said
    from engine.data_and_task import build_data, build_task, choose_precision
    from engine.trial import device_of

    config, own = job.config, job.own
    data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    choose_precision(config, data, task)
    arguments = config.trainer.lightning_arguments()
    images, device = len(data.splits["train"]), device_of(arguments)
    sizes, limit = largest_batch(
        task,
        data,
        images=min(images, own.largest),
        share=own.memory,
        steps=own.steps,
        seconds=own.seconds,
        arguments=arguments,
        device=device,
    )
    print("\n".join(sizes_said(sizes, limit=limit, images=images, device=device)))
    if not sizes[0].fits:
        raise UserError(
            f"data.batch_size: {sizes[0].batch_size} images do not fit on {device.type}; take a smaller net"
        )
    found = {"data.batch_size": str(recommended(sizes, images).batch_size)}
    print("the learning rate belongs to the batch size; find it anew with do=lr")
    print(f"to type: {train_line(config, **found)}")
    rows = [(one.batch_size, one.fits, one.run, one.speed or "", one.seconds or "", one.memory or "") for one in sizes]
    write_table(job.output, ("batch_size", "fits", "run", "images_per_second", "step_seconds", "memory_bytes"), rows)
    print(f"numbers: {job.output}", flush=True)


def look_at_data(job: Exploration) -> None:
    """The data set, and where there are weights how it is like what they have seen; all findings as JSON."""
    from dataclasses import asdict

    from datamodules.overview import overview
    from models.analysis import advice
    from reports.terminal import print_table

    config = job.config
    data, preprocessing, missing = data_for(config)
    facts, counts = overview(data), data.class_counts()
    print("\n".join(facts.lines()), flush=True)
    probes, words = probes_of(job, data, preprocessing, missing)
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
    line = train_line(config, **settings)
    print(f"{'to type' if probes or config.model.weights == 'none' else 'with the weights, type'}: {line}")
    findings["command"] = line
    text = json.dumps(findings, indent=2, ensure_ascii=False)
    write(job.output, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    print(f"findings: {job.output}", flush=True)


def data_for(config: "RunConfig") -> tuple[Any, Any, list[str]]:
    """Data and preprocessing; without those of the weights where there are none, and then why."""
    from engine.data_and_task import build_data

    try:
        return *build_data(config), []
    except UserError as error:
        if config.model.weights == "none":
            raise
        return *build_data(untrained(config)), list(error.messages)


def probes_of(
    job: Exploration, data: Any, preprocessing: Any, missing: list[str]
) -> tuple[dict[str, "Probe"], list[str]]:
    """How well three kinds of features separate the classes; or none, and what is missing for it."""
    from datamodules.overview import sample
    from datamodules.transforms import normalise
    from engine.data_and_task import build_task
    from models.analysis.separability import compare_features

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
    found = compare_features(
        nets,
        [data.plain_batch("train", part)[0] for part in chosen.split(64)],
        train.targets[chosen],
        prepare=lambda images: normalise(images, data.effective_preprocessing),
    )
    return (found, []) if found else ({}, ["a class has fewer than two training images"])


def untrained(config: "RunConfig") -> "RunConfig":
    """The same with weights at random."""
    model = config.model.model_copy(update={"weights": "none", "pretrained": False})
    return config.model_copy(update={"model": model})


def look_at_nets(job: Exploration) -> None:
    """A row a net: size, work, time of one image here, and the test accuracy of the runs there are."""
    from models.analysis.net_table import NETS_HEADER, net_row
    from reports.comparison.accuracies import accuracies_of_nets
    from reports.terminal import print_table
    from settings.runs import all_runs, rooted

    named = job.config.data.name if job.names_data else None
    reached = accuracies_of_nets(all_runs(rooted(job.config.paths.runs)), data=named)
    built_for, repeats = subject(job), job.own.repeats
    rows = [net_row(name, built_for(name), repeats=repeats, accuracy=reached.get(name, "")) for name in job.own.nets]
    print_table(NETS_HEADER, rows)
    print("latency: one image on the CPU, median; accuracy: mean of the runs, and how many")
    write_table(job.output, NETS_HEADER, rows)
    print(f"table: {job.output}", flush=True)


def look_at_layers(job: Exploration) -> None:
    """A row a layer of the net, by formula, checked against torch's flop counter."""
    from models.analysis.counting import layers
    from models.analysis.net_table import LAYERS_HEADER, layer_rows, layers_said, without_values
    from reports.terminal import print_table

    model = job.config.model
    net, image = without_values(
        name=model.name, source=model.source, arguments=model.net_arguments(), **subject(job)(model.name)
    )
    found = layers(net, image)
    rows = layer_rows(found)
    print_table(LAYERS_HEADER[:-1], [row[:-1] for row in rows])
    print("\n".join(layers_said(model.name, net, image, found)))
    write_table(job.output, LAYERS_HEADER, rows)
    print(f"table: {job.output}", flush=True)


def subject(job: Exploration) -> Callable[[str], dict[str, int]]:
    """What nets are built for: the job's own keys, else the data that is named, else what is usual for the net."""
    from engine.data_and_task import load_data
    from models.build import net_input
    from settings.schema.names import source_of

    config = job.config
    keys = {"num_classes": "classes", "in_channels": "channels", "image_size": "pixels"}
    given = {key: getattr(job.own, short) for key, short in keys.items() if getattr(job.own, short)}
    data = load_data(config) if job.names_data else None

    def built_for(name: str) -> dict[str, int]:
        source = source_of(name)
        classes, channels, side = (10, 3, 32) if source == "own" else (1000, 3, 224)
        if data:
            classes, channels, side = len(data.class_names), data.channels, data.image_size
        sizes = net_input(name=name, source=source).image_sizes
        side = config.data.image_size or (side if sizes is None or side in sizes else sizes[0])
        return {"num_classes": classes, "in_channels": channels, "image_size": side, **given}

    return built_for


LOOK: dict[str, Callable[[Exploration], None]] = {
    "augment": look_at_recipe,
    "lr": look_for_rate,
    "batch_size": look_for_batch_size,
    "data": look_at_data,
    "nets": look_at_nets,
    "layers": look_at_layers,
}
"""What each topic of `settings/commands/topics.py` does."""


def recipe_text(config: "RunConfig") -> str:
    """The lines of the recipe as they apply, and those that the data set forbids."""
    from settings.schema.mistakes import show

    lines = [
        "\u00a0".join([name, *(f"{key}={show(value)}" for key, value in (given or {}).items())])  # a line stays whole
        for name, given in config.augment.items()
    ]
    text = " · ".join(lines) or "no augmentation"
    if config.dropped_augment:
        text += f" · left out, as data.forbid has it: {', '.join(config.dropped_augment)}"
    return text


def train_line(config: "RunConfig", **found: str) -> str:
    """The command that trains with what was found, and with everything else as it was typed."""
    kept = [word for word in config.command if word.partition("=")[0] not in found]
    if "transfer" in found:  # keys of another mode would be refused, and weights are where there is no transfer
        gone = ("transfer.", "model.weights", "model.pretrained") if found["transfer"] == "scratch" else ("transfer.",)
        kept = [word for word in kept if not word.startswith(gone)]
    return shlex.join(["python", "train.py", *kept, *(f"{key}={value}" for key, value in found.items())])


def write(path: Path, save: Callable[[Path], Any]) -> None:
    """Write a file of the user's choice.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path, ending=path.suffix) as fresh:  # a picture's writer reads the ending
            save(fresh)
    except OSError as error:
        raise UserError(f"output={path}: cannot be written ({error.strerror or error})") from error


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file."""

    def save(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])

    write(path, save)


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=format_help))
