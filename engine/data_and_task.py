"""A configuration's data and task: the one place where data and nets are introduced to each other.

The data module is the class that `data._target_` names; nothing here knows which one.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.process_group import Members
    from models.tasks.base import Task
    from settings.preprocessing import Preprocessing
    from settings.schema.run_config import RunConfig


def build_data(config: "RunConfig", **feeding: Any) -> tuple[Any, "Preprocessing"]:
    """The data module that `data._target_` names, ready to train for the net of the configuration.

    `feeding` replaces single arguments of `configure`, such as `batch_size`.
    """
    from models.build import net_input
    from settings.preprocessing import choose

    data, model = load_data(config), config.model
    preprocessing = choose(
        net_input(name=model.name, source=model.source, weights=model.weights),
        image_size=config.data.image_size,
        native_size=data.image_size,
        channels=model.in_channels or data.channels,
        mean=data.mean,
        std=data.std,
        said=config.data.image_preparation(),
    )
    arguments = {**config.data.feeding_arguments(), **feeding}
    data.configure(seed=config.seed, preprocessing=preprocessing, recipe=config.augment, **arguments)
    data.setup("fit")
    follow_data(config, data)
    data.try_recipe()
    data.try_workers(processes=config.trainer.processes or 1, accumulation=config.trainer.accumulate_grad_batches)
    return data, preprocessing


def follow_data(config: "RunConfig", data: Any) -> None:
    """Put a batch size that follows the number of training images in place of `data.batch_size=null`."""
    if config.data.batch_size is not None:
        return
    from models.analysis.advice import default_batch_size

    trainer = config.trainer
    parts = (trainer.processes or 1) * trainer.accumulate_grad_batches
    config.data.batch_size = default_batch_size(len(data.splits["train"]), parts=parts)
    data.batch_size = config.data.batch_size


def load_data(config: "RunConfig", *, for_scoring: bool = False) -> Any:
    """The data module that `data._target_` names, on disk and ready to be asked for its classes.

    `for_scoring` takes data that are only scored, without training images.
    """
    from importlib import import_module

    from models.tasks import task_class
    from settings.runs import rooted

    module, _, name = config.data.target.rpartition(".")
    root = None if config.data.root is None else rooted(config.data.root)
    data = getattr(import_module(module), name)(root=root, data_dir=rooted(config.paths.data), **config.data.arguments)
    data.target = task_class(config.chosen_task).targets
    data.for_scoring = for_scoring
    data.prepare_data()
    return data


def build_task(
    config: "RunConfig", data: Any, preprocessing: "Preprocessing", *, class_names: Sequence[str] | None = None
) -> "Task":
    """Introduce data and net to each other (classes, channels, image size); then the data's task.

    `class_names` are those of a trained net where the data's are others.
    """
    import torch
    from lightning import seed_everything

    from models.build import build_net
    from models.fitting import fit_to_images
    from models.stages import stages
    from models.tasks import task_class
    from models.transfer import WITH_ADAPTERS, TransferPlan

    model, transfer = config.model, config.transfer
    class_names = tuple(class_names or data.class_names)
    net_arguments: dict[str, Any] = {
        "name": model.name,
        "source": model.source,
        "arguments": model.net_arguments(),
        "num_classes": task_class(config.chosen_task).head or len(class_names),
        "in_channels": preprocessing.channels,
        "image_size": preprocessing.image_size,
        "standardize": config.data.standardize,
    }
    if transfer.name in WITH_ADAPTERS:
        net_arguments["adapters"] = transfer.arguments
    seed_everything(config.seed, verbose=False)
    start: dict[str, Any] = {
        "weights": model.weights,
        "weights_by_order": model.weights_by_order,
        "class_names": class_names,
        "initialization": model.initialization,
    }
    net = build_net(**net_arguments, **start)
    fit_to_images(net, data.training_images)
    if config.trainer.compile:
        net.compile()
    card = {
        "schema": 1,
        "task": config.chosen_task,
        "head": task_class(config.chosen_task).head,
        "model": net_arguments,
        "class_names": list(class_names),
        "preprocessing": preprocessing.to_dict(),
        "split_seed": config.data.split_seed,
        "data_fingerprint": data.fingerprint(),
        "config": config.without_consents().to_plain(),
    }
    task = task_class(config.chosen_task)(
        net=net,
        class_names=class_names,
        optimizer=config.optimizer.to_plain(),
        scheduler=config.scheduler.to_plain(),
        plan=TransferPlan(
            mode=transfer.name,
            stages=tuple(stage.name for stage in stages(net)),
            epochs=config.trainer.max_epochs,
            arguments=transfer.arguments,
        ),
        monitor=config.monitor,
        monitor_mode=config.monitor_mode,
        channels_last=bool(config.trainer.channels_last),
        card=card,
        loss=loss_arguments(config, data),
        metrics=config.metrics,
    )
    if data.asks_net:
        size = preprocessing.image_size
        task.find_feature_map(torch.zeros(2, preprocessing.channels, size, size))
    return task


def choose_precision(
    config: "RunConfig",
    data: Any,
    task: "Task",
    *,
    members: "Members | None" = None,
    say: Callable[[str], None] = print,
) -> None:
    """Put what is fastest here in place of `trainer.precision=auto`, in configuration, task and checkpoints."""
    if config.trainer.precision != "auto":
        return
    from engine.autotune import choose
    from engine.process_group import Members

    trainer = config.trainer
    images = (config.data.batch_size or 1) // ((trainer.processes or 1) * trainer.accumulate_grad_batches)

    def look() -> tuple[str, bool, str]:
        return choose(task, data, images=images, accelerator=trainer.accelerator, channels_last=trainer.channels_last)

    trainer.precision, trainer.channels_last, line = (members or Members()).decided(look)
    task.keep_channels_last(trainer.channels_last)
    task.card["config"] = config.without_consents().to_plain()
    say(line)


def loss_arguments(config: "RunConfig", data: Any) -> dict[str, Any]:
    """The section `loss`, with a number a class in place of the word for it."""
    from models.class_weights import choose_class_weights

    loss = config.loss.to_plain()
    if config.loss.class_weights != "none":
        loss["class_weights"] = choose_class_weights(config.loss.class_weights, data.class_counts())
    else:
        loss["class_weights"] = None
    return loss
