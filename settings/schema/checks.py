"""What no single value can tell: settings that exclude each other, and names that other files define.

A check is a generator of (key, what is wrong); it runs if the sections that it reads have no mistakes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from settings import weight_files
from settings.errors import UserError, nearest, unknown
from settings.reading import files
from settings.schema import (
    albumentations_lines,
    image_files,
    lightning_callbacks,
    loggers,
    loss_names,
    metric_names,
    names,
    optimizers,
    recipes,
    schedules,
    signatures,
    trackers,
)
from settings.schema.mistakes import show
from settings.schema.run_config import Settings
from settings.schema.sections import (
    Callbacks,
    Data,
    Loss,
    Model,
    Optimizer,
    Scheduler,
    Section,
    Transfer,
    plain_text,
)
from settings.schema.unknown_key import unknown_key
from settings.world import ELSEWHERE, launched

Key = tuple[str, ...]
Mistakes = Iterator[tuple[Key, str]]
DATA_TARGET = re.compile(r"datamodules(\.[A-Za-z_]\w*)+\.[A-Za-z_]\w*")
CALLBACK_TARGET = re.compile(r"callbacks(\.[A-Za-z_]\w*)+\.[A-Za-z_]\w*")
FILLED_IN = frozenset({"root", "data_dir"})  # by train.py, from data.root and paths.data
FILLED_IN_CALLBACKS = frozenset({"say"})  # by the trainer
FILLED_IN_NETS = frozenset({"num_classes", "in_chans", "in_channels", "pretrained", "weights"})
FILLED_IN_OPERATIONS = frozenset({"num_classes", "attention"})


def forbidden_targets(raw: Any, above: Key = ()) -> Mistakes:
    """`_target_` names code to run: it stands only in data and in callbacks.

    It names our folders only, and Lightning's callbacks.
    """
    if isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from forbidden_targets(value, (*above, str(index)))
    if not isinstance(raw, Mapping):
        return
    for key, value in raw.items():
        here = (*above, str(key))
        if key in ("_partial_", "_args_", "_recursive_", "_convert_"):
            yield here, " is not taken: only _target_ is, in data and in callbacks"
        elif key == "_target_":
            if above == ("data",):
                allowed, example = DATA_TARGET, "datamodules.FILE.CLASS"
            elif len(above) == 2 and above[0] == "callbacks":
                allowed, example = CALLBACK_TARGET, f"callbacks.FILE.CLASS or {lightning_callbacks.MODULE}.CLASS"
            else:
                yield here, " is not taken here: code is named in data and in callbacks only"
                continue
            if above[0] == "callbacks" and lightning_callbacks.is_one(value):
                if reason := lightning_callbacks.refused(raw):
                    yield here, reason
            elif not isinstance(value, str) or not allowed.fullmatch(value):
                yield here, f"={value!r:.60} is not allowed: it must be {example}"
        else:
            yield from forbidden_targets(value, here)


def foreign_arguments(raw: Mapping[str, Any]) -> Mistakes:
    """Arguments that belong to classes: data sets, our nets, operations, a forker's callbacks."""
    data, model, recipe, callbacks = (raw.get(key) for key in ("data", "model", "augment", "callbacks"))
    transfer, loss = raw.get("transfer"), raw.get("loss")
    optimizer, scheduler, logger = raw.get("optimizer"), raw.get("scheduler"), raw.get("logger")
    if isinstance(data, Mapping) and _allowed(data, DATA_TARGET):
        yield from _of_class(("data",), data, ours=_names(Data), filled_in=FILLED_IN)
        yield from ((("data", name), text) for name, text in image_files.mistakes(data))
    if isinstance(model, Mapping):
        yield from _net_arguments(model)
    if isinstance(transfer, Mapping):
        yield from _mode_arguments(transfer)
    if isinstance(optimizer, Mapping):
        yield from _optimizer(optimizer)
    if isinstance(scheduler, Mapping):
        yield from _scheduler(scheduler)
    if isinstance(recipe, Mapping):
        yield from _operations(recipe)
    if isinstance(loss, Mapping):
        yield from _loss_arguments(loss)
    if isinstance(logger, Mapping):
        yield from _loggers(logger)
    for name, section in callbacks.items() if isinstance(callbacks, Mapping) else ():
        if name in Callbacks.model_fields or section is None:
            continue
        if not isinstance(section, Mapping) or "_target_" not in section:
            yield ("callbacks", name), unknown_key(("callbacks", name), siblings=Callbacks.model_fields)
        elif _allowed(section, CALLBACK_TARGET) or (
            lightning_callbacks.is_one(section["_target_"]) and not lightning_callbacks.refused(section)
        ):
            target = lightning_callbacks.source_of(section["_target_"])
            yield from _of_class(
                ("callbacks", name), section, ours=["_target_"], target=target, filled_in=FILLED_IN_CALLBACKS
            )


def _names(section: type[Section]) -> list[str]:
    return [info.alias or name for name, info in section.model_fields.items()]


def _allowed(section: Mapping[str, Any], pattern: re.Pattern[str]) -> bool:
    target = section.get("_target_")
    return isinstance(target, str) and pattern.fullmatch(target) is not None


def _of_class(
    above: Key,
    section: Mapping[str, Any],
    *,
    ours: list[str],
    target: str | None = None,
    filled_in: frozenset[str] = frozenset(),
    choice: str | None = None,
) -> Mistakes:
    """What a class would not take of a section; `ours` are keys of the section that are not its arguments."""
    target = target or section["_target_"]
    given = {key: value for key, value in section.items() if key not in ours}
    try:
        siblings = [*ours, *signatures.names(target, ours=filled_in)]
        for name, text in signatures.mistakes(target, given, ours=filled_in):
            keys = (*above, *name.split("."))
            yield keys, unknown_key(keys, siblings=siblings, choice=choice) if text is None else text
    except signatures.NotFoundInSource as error:
        yield (*above, "_target_"), str(error)


def _net_arguments(model: Mapping[str, Any]) -> Mistakes:
    name, source = model.get("name"), model.get("source")
    given = {key: value for key, value in model.items() if key not in Model.model_fields}
    if not isinstance(name, str) or source not in ("own", *names.LIBRARIES):
        return
    known = names.known(source)
    if name not in known and (source != "timm" or name.split(".")[0] not in known):
        yield ("model", "name"), f": {names.unknown_net(name, source=source)}"
        return
    arguments = model.get("arguments")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    if source != "own":
        for key in given:
            keys = ("model", key)
            close = nearest(key, Model.model_fields)
            text = unknown_key(keys, siblings=Model.model_fields)
            yield (
                keys,
                text if close else f"unknown key model.{key}; {source}'s own are model.arguments.{key}",
            )
        for key in FILLED_IN_NETS & set(arguments):
            yield ("model", "arguments", key), " is filled in by the project"
        return
    if arguments:
        key = next(iter(arguments))
        yield ("model", "arguments"), f": {name}'s arguments are keys of model itself: model.{key}"
    yield from _of_class(
        ("model",),
        model,
        ours=list(Model.model_fields),
        target=names.net_target(name),
        filled_in=names.FILLED_IN_OWN_NETS,
        choice=name,
    )


def _mode_arguments(transfer: Mapping[str, Any]) -> Mistakes:
    name, modes = transfer.get("name"), names.transfer_modes()
    if not isinstance(name, str):
        return  # the schema reports it
    if name not in modes:
        yield ("transfer", "name"), f": {unknown('mode', name, modes)}; modes are rows of models/transfer.py"
        return
    yield from _of_class(("transfer",), transfer, ours=list(Transfer.model_fields), target=modes[name], choice=name)


def _loss_arguments(loss: Mapping[str, Any]) -> Mistakes:
    """What the loss, and those of its `terms`, would not take."""
    name = loss.get("name", "cross_entropy")
    if name in loss_names.known():
        target, filled_in = loss_names.target(name), loss_names.FILLED_IN
        yield from _of_class(("loss",), loss, ours=list(Loss.model_fields), target=target, filled_in=filled_in)
    elif isinstance(name, str):
        yield ("loss", "name"), f": {unknown('loss', name, loss_names.known())}"
    terms = loss.get("terms")
    for term, given in terms.items() if isinstance(terms, Mapping) else ():
        key = ("loss", "terms", str(term))
        if term not in loss_names.known():
            yield key, f": {unknown('loss', str(term), loss_names.known())}"
        elif isinstance(given, Mapping):
            weight = given.get("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
                yield (*key, "weight"), f"={weight!r:.40}: must be a number of at least 0"
            yield from _of_class(
                key, given, ours=["weight"], target=loss_names.target(term), filled_in=loss_names.FILLED_IN
            )


def _loss(config: Settings, written: Set[str]) -> Mistakes:
    """A loss fits its task's targets, and takes class weights where they are given."""
    wanted = names.task_value(config.chosen_task, "targets")
    if wanted is None:
        return
    chosen: list[tuple[Key, str]] = [(("loss",), config.loss.name)]
    chosen += [(("loss", "terms", term), term) for term in config.loss.terms]
    for key, name in chosen:
        if wanted not in loss_names.targets(name):
            fit = ", ".join(loss_names.learning_from(wanted)) or "none"
            yield key, f"={name}: cannot learn from {wanted} (task={config.chosen_task}); losses for it: {fit}"
    if config.loss.class_weights != "none" and not loss_names.takes(config.loss.name, "class_weights"):
        yield ("loss", "class_weights"), f": loss={config.loss.name} takes none"


def _optimizer(section: Mapping[str, Any]) -> Mistakes:
    name = section.get("name")
    if not isinstance(name, str):
        return  # the schema reports it
    found = optimizers.find(name)
    if found is None:
        yield ("optimizer", "name"), f": {optimizers.unknown(name)}"
        return
    if reason := optimizers.refused(name):
        yield ("optimizer",), f"={name} cannot work here: {reason}"
        return
    filled_in = optimizers.filled_in(found) | set(optimizers.SHARED)
    ours = list(Optimizer.model_fields)
    yield from _of_class(("optimizer",), section, ours=ours, target=found.target, filled_in=filled_in, choice=name)
    if section.get("weight_decay") and "weight_decay" not in optimizers.arguments(name):
        yield ("optimizer", "weight_decay"), f"={show(section['weight_decay'])}: {name} has no weight decay"


def _scheduler(section: Mapping[str, Any]) -> Mistakes:
    name = section.get("name")
    if not isinstance(name, str):
        return  # the schema reports it
    target, ours, filled_in = schedules.target(name), list(Scheduler.model_fields), schedules.FILLED_IN
    if target is None:
        yield ("scheduler", "name"), f": {schedules.unknown(name)}"
    else:
        yield from _of_class(("scheduler",), section, ours=ours, target=target, filled_in=filled_in, choice=name)


def _loggers(section: Mapping[str, Any]) -> Mistakes:
    """Names that are no loggers, and what the loggers would not take of the section."""
    named = section.get("name", "csv")
    chosen = [named] if isinstance(named, str) else named
    if not isinstance(chosen, list) or not all(isinstance(name, str) for name in chosen):
        return  # the schema reports it
    if twice := [name for name in dict.fromkeys(chosen) if chosen.count(name) > 1]:
        yield ("logger",), f"={show(named)}: {twice[0]} stands twice"
    if strange := [name for name in chosen if loggers.find(name) is None]:
        yield from ((("logger", "name"), f": {loggers.unknown(name)}") for name in strange)
        return
    try:
        known = loggers.arguments(chosen)
    except signatures.NotFoundInSource as error:
        yield ("logger",), str(error)
        return
    given = {key: value for key, value in section.items() if key != "name"}
    for key in [key for key in given if key.endswith("api_key")]:
        names = ", ".join(name for name in chosen if key in loggers.arguments([name])) or show(named)
        yield ("logger", key), f": {names} takes it from the environment; here it would stand in config.yaml"
        del given[key]
    for name, text in signatures.argument_mistakes(f"logger={show(named)}", known, given):
        keys = ("logger", *name.split("."))
        yield keys, unknown_key(keys, siblings=["name", *known], choice=show(named)) if text is None else text
    for key, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and key in known:
                try:
                    plain_text(one)
                except ValueError as error:
                    yield ("logger", key), f"={show(value)}: {error}"


def _operations(recipe: Mapping[str, Any]) -> Mistakes:
    known = names.operations()
    for name, given in recipe.items():
        if name[:1].isupper():
            for key, text in albumentations_lines.mistakes(name, given if isinstance(given, Mapping) else {}):
                yield ("augment", name, *([key] if key else [])), text
            continue
        if name not in known:
            yield ("augment", name), unknown_key(("augment", name), siblings=known)
            continue
        if not isinstance(given, Mapping):
            continue  # null drops the line; anything else is the schema's to report
        yield from _of_class(("augment", name), given, ours=[], target=known[name], filled_in=FILLED_IN_OPERATIONS)


def _net(config: Settings, written: Set[str]) -> Mistakes:
    """The net gives what the task wants of it: a class an image, a class a pixel, ..."""
    wanted = names.task_value(config.chosen_task, "output")
    model = config.model
    if wanted is None or (model.source == "own" and model.name not in names.nets()):
        return
    if names.net_output(model.name if model.source == "own" else None) != wanted:
        fit = [name for name in names.nets() if names.net_output(name) == wanted]
        libraries = ", nets of torchvision and timm" if wanted == "logits" else ""
        yield (
            ("model",),
            f"={model.name}: gives no {OUTPUTS.get(wanted, wanted)}, which task={config.chosen_task} wants; "
            f"nets for it: {', '.join(fit[:8])}{', ...' if len(fit) > 8 else ''}{libraries}",
        )


def _weights(config: Settings, written: Set[str]) -> Mistakes:
    model, transfer = config.model, config.transfer
    key = "pretrained" if model.pretrained else "weights"
    shown = f"={'true' if model.pretrained else model.weights}"
    if model.pretrained and model.weights not in ("none", "default"):
        yield (
            ("model", "pretrained"),
            f"=true means weights=default, but model.weights={model.weights}; set one",
        )
    start = "default" if model.pretrained and model.weights == "none" else model.weights
    if model.source == "own" and start == "default":
        yield ("model", key), f"{shown}, but {model.name} has no default weights; give model.weights=FILE"
    elif transfer.name == "scratch" and start != "none":
        yield ("model", key), f"{shown}, but transfer=scratch starts without weights; add transfer=full"
    elif transfer.name != "scratch" and start == "none" and not transfer.allow_random:
        if "model.weights" in written:
            fix = "name some, or add transfer.allow_random=true"
            yield ("model", "weights"), f"=none, but transfer={transfer.name} starts from weights; {fix}"
        elif model.source == "own":
            fix = "give model.weights=FILE or transfer.allow_random=true"
            yield ("transfer",), f"={transfer.name}: {model.name} has no default weights; {fix}"
    if start.startswith(weight_files.PACKAGE):
        try:
            weight_files.locate(start)
        except UserError as error:
            yield ("model", "weights"), str(error).removeprefix("model.weights")
    elif start.endswith(weight_files.ENDINGS) and not files.is_file(Path(start).expanduser()):
        yield ("model", "weights"), f"={start}: there is no such file"
    if (
        model.initialization != "default"
        and transfer.name != "scratch"
        and not (start == "none" and transfer.allow_random)
    ):
        yield (
            ("model", "initialization"),
            f"={model.initialization}: transfer={transfer.name} starts from weights; it is for transfer=scratch",
        )
    if model.weights_by_order and (start == "none" or not weight_files.is_file(start)):
        yield ("model", "weights_by_order"), f"=true: only a file has tensors to pair by order; model.weights={start}"


def _auxiliary(config: Settings, written: Set[str]) -> Mistakes:
    if (
        "loss.auxiliary_weight" in written
        and config.model.source != "own"
        and not config.model.arguments.get("aux_logits")
    ):
        yield (
            ("loss", "auxiliary_weight"),
            f"={config.loss.auxiliary_weight:g}: {config.model.name} has no auxiliary heads here; googlenet and "
            "inception_v3 have them with model.arguments.aux_logits=true",
        )


def _parts_of_tasks(config: Settings, written: Set[str]) -> Mistakes:
    """A part of a net that one task alone trains is there with this task, and with no other."""
    own = config.model.source == "own" and config.model.name in names.nets()
    arguments = names.nets()[config.model.name][1] | config.model.net_arguments() if own else {}
    for task in names.tasks():
        for part in names.task_value(task, "trains") or ():
            if task == config.chosen_task and not arguments.get(part):
                usual = (names.task_value(task, "defaults") or {}).get("model")
                yield ("model", "name"), f"={config.model.name} has no {part}, which task={task} needs: model={usual}"
            elif task != config.chosen_task and arguments.get(part):
                yield ("model", part), f"={show(arguments[part])}: only task={task} trains it"


def _image_size(config: Settings, written: Set[str]) -> Mistakes:
    if config.model.source != "own" or config.model.name not in names.nets():
        return
    sizes = signatures.class_value(names.net_target(config.model.name), "image_sizes")
    if sizes and config.data.image_size is not None and config.data.image_size not in sizes:
        allowed = " or ".join(str(size) for size in sizes)
        yield (
            ("data", "image_size"),
            f"={config.data.image_size}: {config.model.name} takes images of {allowed} pixels",
        )


def _subset(config: Settings, written: Set[str]) -> Mistakes:
    data = config.data
    if data.fraction < 1 and data.per_class is not None:
        yield (
            ("data", "per_class"),
            f"={data.per_class} and data.fraction={data.fraction} exclude each other; set one",
        )


def _batches(config: Settings, written: Set[str]) -> Mistakes:
    data, trainer = config.data, config.trainer
    if trainer.processes is not None:
        parts = trainer.processes * trainer.accumulate_grad_batches
        if data.batch_size is not None and data.batch_size % parts:
            near = max(parts, round(data.batch_size / parts) * parts)
            how = f"must divide by {parts} (devices x nodes x accumulate_grad_batches), such as {near}"
            if {"data.batch_size", "trainer.accumulate_grad_batches"} & written == {"trainer.accumulate_grad_batches"}:
                yield ("trainer", "accumulate_grad_batches"), f": data.batch_size={data.batch_size} {how}"
            else:
                yield ("data", "batch_size"), f"={data.batch_size}: {how}"


def _processes(config: Settings, written: Set[str]) -> Mistakes:
    trainer, around = config.trainer, launched()
    if around is not None:
        typed = {"devices": trainer.devices, "num_nodes": trainer.num_nodes} if trainer.processes else {}
        for key, count in (("devices", around.local_size), ("num_nodes", around.nodes)):
            value = typed.get(key, count)
            if (len(value) if isinstance(value, list) else value) != count:
                where = "processes on this machine" if key == "devices" else "machines"
                yield ("trainer", key), f"={value}: {around.launcher} started {count} {where}; leave it out"
    elif trainer.num_nodes > 1 and not all(os.environ.get(name) for name in ELSEWHERE):
        yield (
            ("trainer", "num_nodes"),
            f"={trainer.num_nodes}: start it with torchrun or srun, or set {', '.join(ELSEWHERE)} on each machine",
        )
    if trainer.strategy == "single_device" and trainer.processes not in (None, 1):
        yield ("trainer", "strategy"), f"=single_device: {trainer.processes} processes need auto or ddp"


def _forbidden_operations(config: Settings, written: Set[str]) -> Mistakes:
    for index, name in enumerate(config.data.forbid):
        if name[:1].isupper():
            yield from ((("data", "forbid", str(index)), text) for _, text in albumentations_lines.mistakes(name, {}))
        elif name not in names.operations():
            yield ("data", "forbid", str(index)), f": {unknown('operation', name, names.operations())}"


def _unwanted_operations(config: Settings, written: Set[str]) -> Mistakes:
    for name, given in config.augment.items():
        forbidden = sorted(names.effects(name) & set(config.data.forbid))
        if forbidden and given is not None and f"augment.{name}" in written:
            does = "" if forbidden[0] == name else f", which does {' and '.join(forbidden)}"
            yield ("augment", name), f"{does}: {config.data.name} forbids it (data.forbid), as it changes the label"


def _views(config: Settings, written: Set[str]) -> Mistakes:
    """Views of test images that the task cannot average."""
    can = names.task_value(config.chosen_task, "views") or ("centre",)
    if config.data.test_views not in can:
        yield (
            ("data", "test_views"),
            f"={config.data.test_views}: not for task={config.chosen_task}, which has {', '.join(can)}",
        )


def _movable_operations(config: Settings, written: Set[str]) -> Mistakes:
    """Operations that the task's targets cannot follow."""
    targets = names.task_value(config.chosen_task, "targets")
    known = names.operations()
    for name, given in config.augment.items():
        if given is None or names.effects(name) & set(config.data.forbid):
            continue
        reason = None
        if targets != "labels" and name in known and signatures.class_value(known[name], "asks_net"):
            reason = f"asks the net for its class of an image, and task={config.chosen_task} has {targets}"
        elif targets == "masks" and (name not in known or ".image." in known[name]):
            reason = f"changes single images without their masks, and task={config.chosen_task} learns from masks"
        elif targets == "masks" and signatures.class_value(known[name], "moves_masks") is False:
            reason = f"has no meaning for masks, which task={config.chosen_task} learns from"
        if reason:
            yield ("augment", name), f": {reason}; augment.{name}=null leaves it out"


def _monitor(config: Settings, written: Set[str]) -> Mistakes:
    if config.chosen_task not in names.tasks():
        return
    known = logged(config)
    monitor = config.monitor or next(iter(known), "")
    if monitor not in known:
        if config.monitor_mode is None:
            close = ", ".join(nearest(monitor, known) or known)
            yield (
                ("monitor",),
                f"={monitor!r:.60} is not logged by task={config.chosen_task}; nearest: {close}; what a callback logs "
                "needs monitor_mode=max or min, too",
            )
        return
    right = known[monitor]
    if right is None and config.monitor_mode is None:
        yield ("monitor",), f"={monitor}: its class does not say which end is good; add monitor_mode=max or min"
    elif right is not None and config.monitor_mode not in (None, right):
        yield ("monitor_mode",), f": {monitor} is best at its {right}imum; write monitor_mode={right}"


def logged(config: Settings) -> dict[str, str | None]:
    """What a run reports, as `val/accuracy` -> `max` or `min`, or None where a library does not say."""
    kind = names.task_value(config.chosen_task, "library") or ""
    chosen = {name: metric_names.find(name, kind) for name in config.metrics}
    return {**names.logged(config.chosen_task), **{f"val/{name}": one.direction for name, one in chosen.items() if one}}


def _metrics(config: Settings, written: Set[str]) -> Mistakes:
    """Metrics beside the task's own: there are such, and they take their arguments."""
    task = config.chosen_task
    kind = names.task_value(task, "library") or ""
    for name, given in config.metrics.items():
        found = metric_names.find(name, kind)
        if name in (names.task_value(task, "metrics") or {}):
            yield ("metrics", name), f": task={task} reports it already"
        elif found is None:
            yield ("metrics", name), f": {unknown('metric', name, metric_names.known(kind))}"
        else:
            for argument, text in metric_names.mistakes(found, given):
                keys = ("metrics", name, argument)
                yield keys, unknown_key(keys, siblings=found.parameters) if text is None else text


def _task(config: Settings, written: Set[str]) -> Mistakes:
    if config.task is None:
        return
    if config.task not in names.tasks():
        yield ("task",), f": {unknown('task', config.task, names.tasks())}"
        return
    wanted, there = names.task_value(config.task, "targets"), names.data_targets(config.data.target)
    if wanted not in there:
        fit = [name for name in names.tasks() if names.task_value(name, "targets") in there]
        yield (
            ("task",),
            f"={config.task}: learns from {wanted}, and data={config.data.name} has {', '.join(there)}; "
            f"tasks for it: {', '.join(fit)}",
        )


def _schedule(config: Settings, written: Set[str]) -> Mistakes:
    schedule, trainer = config.scheduler, config.trainer
    if schedule.warmup_epochs > 0 and schedules.warms_up(schedule.name):
        yield (
            ("scheduler", "warmup_epochs"),
            f"={schedule.warmup_epochs:g}: {schedule.name} warms up by itself; must be 0",
        )
    elif schedule.warmup_epochs >= trainer.max_epochs:
        yield (
            ("scheduler", "warmup_epochs"),
            f"={schedule.warmup_epochs:g}: must be less than trainer.max_epochs={trainer.max_epochs}",
        )


def _trainer(config: Settings, written: Set[str]) -> Mistakes:
    trainer = config.trainer
    if trainer.gradient_clip_algorithm and trainer.gradient_clip_val is None:
        yield (
            ("trainer", "gradient_clip_algorithm"),
            f"={trainer.gradient_clip_algorithm}: needs trainer.gradient_clip_val",
        )
    if trainer.compile and trainer.precision == "auto":
        yield ("trainer", "compile"), "=true: trainer.precision=auto tries the net as it is; name a precision"
    if trainer.min_epochs is not None and trainer.min_epochs > trainer.max_epochs:
        yield (
            ("trainer", "min_epochs"),
            f"={trainer.min_epochs}: must be at most trainer.max_epochs={trainer.max_epochs}",
        )
    if trainer.min_steps is not None and -1 < trainer.max_steps < trainer.min_steps:
        yield (
            ("trainer", "min_steps"),
            f"={trainer.min_steps}: must be at most trainer.max_steps={trainer.max_steps}",
        )


def _momentum(config: Settings, written: Set[str]) -> Mistakes:
    found = optimizers.find(config.optimizer.name)
    own = {**(signatures.defaults(found.target) if found else {}), **(config.optimizer.model_extra or {})}
    if own.get("nesterov") is True and own.get("momentum") == 0:
        yield ("optimizer", "nesterov"), "=true: needs optimizer.momentum above 0, or nesterov=false"


def _weight_averaging(config: Settings, written: Set[str]) -> Mistakes:
    """What would keep the averaged weights of SWA from being made, scored or kept."""
    ours = lightning_callbacks.OURS["StochasticWeightAveraging"]
    chosen = [
        (name, section)
        for name, section in (config.callbacks.model_extra or {}).items()
        if isinstance(section, Mapping) and lightning_callbacks.source_of(str(section.get("_target_"))) == ours
    ]
    trainer, epochs = config.trainer, config.trainer.max_epochs
    for name, section in chosen[:1]:
        needs = f"with callbacks.{name} (SWA)"
        if config.callbacks.ema:
            yield ("callbacks", "ema"), f": {needs} weights would be averaged twice; leave one out"
        if config.callbacks.early_stopping:
            yield ("callbacks", "early_stopping"), f": {needs} a run must reach its last epoch; leave one out"
        if config.scheduler.name == "plateau":
            yield ("scheduler",), f"=plateau: {needs} the learning rate is set by epoch; use another schedule"
        if trainer.max_steps > 0:
            yield ("trainer", "max_steps"), f"={trainer.max_steps}: {needs} a run must reach its last epoch"
        if trainer.check_val_every_n_epoch > 1:
            text = f"={trainer.check_val_every_n_epoch}: {needs} the last epoch must be validated; must be 1"
            yield ("trainer", "check_val_every_n_epoch"), text
        if trainer.precision == "16-mixed":
            yield ("trainer", "precision"), f"=16-mixed: {needs} an epoch has no gradients to scale; use bf16-mixed"
        start = section.get("swa_epoch_start", 0)
        if isinstance(start, int) and start > epochs:
            key = ("callbacks", name, "swa_epoch_start")
            yield key, f"={start}: must be at most trainer.max_epochs={epochs}"


def _tracker(config: Settings, written: Set[str]) -> Mistakes:
    for name in config.logger.names:
        found = loggers.find(name)
        for text in loggers.missing(found) if found else ():
            yield ("logger",), f"={name}: {text}"
    if "wandb" in config.logger.names:
        for key, text in trackers.wandb_mistakes(config.logger.model_extra or {}, os.environ):
            yield (("logger", key), text) if key else (("logger",), f"=wandb: {text}")


OUTPUTS = {"logits": "score a class of an image", "dense": "score a class of each pixel"}
"""What a net gives, in words."""

CHECKS: dict[Callable[[Settings, Set[str]], Mistakes], frozenset[str]] = {
    _net: frozenset({"model", "task", "data"}),
    _weights: frozenset({"model", "transfer"}),
    _auxiliary: frozenset({"model", "loss"}),
    _parts_of_tasks: frozenset({"model", "task", "data"}),
    _image_size: frozenset({"model", "data"}),
    _subset: frozenset({"data"}),
    _batches: frozenset({"data", "trainer"}),
    _processes: frozenset({"trainer"}),
    _forbidden_operations: frozenset({"data"}),
    _unwanted_operations: frozenset({"data"}),
    recipes.mixing: frozenset({"data"}),
    recipes.balance: frozenset({"data", "loss"}),
    recipes.erasing: frozenset({"trainer", "augment"}),
    _task: frozenset({"task", "data"}),
    _loss: frozenset({"loss", "task", "data"}),
    _views: frozenset({"task", "data"}),
    _movable_operations: frozenset({"augment", "task", "data"}),
    _metrics: frozenset({"metrics", "task", "data"}),
    _monitor: frozenset({"monitor", "monitor_mode", "metrics", "task", "data"}),
    _schedule: frozenset({"scheduler", "trainer"}),
    _trainer: frozenset({"trainer"}),
    _momentum: frozenset({"optimizer"}),
    _weight_averaging: frozenset({"callbacks", "trainer", "scheduler"}),
    _tracker: frozenset({"logger"}),
}
"""Each check and the sections that it reads."""
