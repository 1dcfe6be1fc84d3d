"""An exported net, written, opened again and compared with its checkpoint along the whole chain on real images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.predict import EXPORTS, PredictJob
from settings.errors import UserError

if TYPE_CHECKING:
    from models.load import LoadedRun


class Disagreement(Exception):
    """An exported file that is not what its checkpoint is."""

    exit_code = 5


def write_checked(job: PredictJob, loaded: "LoadedRun", file: Path, pictures: Any) -> None:
    """Write the net to a file, open it again, and compare the whole chain on real images.

    Args:
        job: kind of file, and what is inside it.
        loaded: the run.
        file: its checkpoint.
        pictures: what `images` names; None for the run's own test images.

    Raises:
        Disagreement: the file is not what the checkpoint is; it is not kept.
    """
    import torch

    from engine.prediction import predicts
    from models import export as exporting
    from models.analysis.parity import in_batches, link, net_links
    from models.normalisation import Normalise
    from reports.model_card import refuse_others, write_card
    from reports.parity import table, write_parity
    from reports.predictions import replaced_when_whole
    from reports.terminal import working
    from settings.runs import read_summary

    inside = job.preprocessing
    run = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    output = job.output or run / "export" / default_name(job, loaded)
    if job.export == "safetensors":
        refuse_others(output)
    fitted, whole, task, origin = real_images(job, loaded, file, pictures)
    normalised = Normalise(loaded.preprocessing)(fitted)
    program: Any = loaded.net
    if job.export != "safetensors":
        with working("tracing the net"):
            program = exporting.trace(loaded, inside=inside)
    probabilities = "sigmoid" if predicts(loaded) == "labels" else "softmax"
    about = exporting.describe(loaded, inside=inside, probabilities=probabilities)
    with working("comparing the net with its checkpoint"):
        links = net_links(loaded.net, normalised, task=task, checkpoint=file, compiled=job.compile)
    given = {"none": normalised, "normalise": fitted, "resize": whole}[inside]
    with torch.inference_mode():
        reference = in_batches(loaded.net, list(normalised) if inside == "resize" else normalised)
        if job.export == "onnx":
            links.append(link("exported program", in_batches(program.module(), given), reference))
    ways: dict[str, tuple[Any, Any, str]] = {
        "onnx": (exporting.write_onnx, exporting.read_onnx, "ONNX Runtime, from the file"),
        "torch_export": (exporting.write_program, exporting.read_program, "exported program, from the file"),
        "safetensors": (exporting.write_weights, exporting.read_weights, "a net built anew, with the file's weights"),
    }
    write, read, said = ways[job.export or ""]
    with replaced_when_whole(output, "output") as fresh:
        with working(f"writing {output.name}"):
            write(program, about, fresh)
        with working(f"comparing {output.name} with the net"):
            opened, kept = read(fresh)
            with torch.inference_mode():
                links.append(link(said, in_batches(opened, given), reference))
        print(f"{exporting.INSIDE[inside]}\n{len(fitted)} {origin}\n{table(links)}", flush=True)
        differing = [one.name for one in links if not one.agrees]
        if differing or kept != about:
            what = ", ".join(differing) or "the file's own description"
            raise Disagreement(f"export={job.export}: {what} does not agree with {file}; nothing was written")
        write_parity(output, links, images=len(fitted), origin=origin, about=about)
        if job.export == "safetensors":
            data = str(loaded.checkpoint["config"]["data"]["name"])
            write_card(output, about, read_summary(run), data=data, target=predicts(loaded))
    print(f"export: {output}", flush=True)


def default_name(job: PredictJob, loaded: "LoadedRun") -> str:
    """What is written below RUN/export: a file, or one in a folder of its own where others stand beside it."""
    name = loaded.checkpoint["model"]["name"]
    return f"{name}/model.safetensors" if job.export == "safetensors" else f"{name}{EXPORTS[job.export or '']}"


def real_images(job: PredictJob, loaded: "LoadedRun", file: Path, pictures: Any) -> tuple[Any, list[Any], Any, str]:
    """Images to compare on: those of `images`, else the run's own test images.

    Returns:
        uint8 (N, C, S, S) as the net reads them; the same, if the file resizes, at their own sizes, (C, H, W) each;
        the run's task with the weights of the checkpoint, None where only images are there; where they come from.

    Raises:
        UserError: there are none.
    """
    import torch

    if pictures is not None:
        fitted, originals = pictures.spread(job.parity_images, originals=job.preprocessing == "resize")
        if not len(fitted):
            raise UserError(f"images={job.images}: none of {len(pictures)} files could be read")
        return fitted, originals, None, f"images of {job.images}"
    data, task = run_again(loaded, file)
    split = "test" if "test" in data.splits else "val"
    loader = data.test_dataloader() if split == "test" else data.val_dataloader()
    count = len(data.splits[split])
    chosen = torch.linspace(0, count - 1, min(count, job.parity_images)).round().long()  # evenly spread
    channels = loaded.preprocessing.channels
    whole = [data.splits[split].image(k, channels) for k in chosen.tolist()] if job.preprocessing == "resize" else []
    return torch.as_tensor(data.fit(loader.dataset[chosen][0])), whole, task, f"{split} images of the run"


def run_again(loaded: "LoadedRun", file: Path) -> tuple[Any, Any]:
    """The run's data, and its task as training builds it, with the checkpoint's weights.

    Raises:
        UserError: the data are not there any more.
    """
    from pydantic import ValidationError

    from engine.data_and_task import build_task, load_data
    from models.checkpoint import read_checkpoint
    from settings.reading.compose import config_from_plain

    try:
        config = config_from_plain(loaded.checkpoint["config"])
        data = load_data(config)
        data.configure(seed=config.seed, preprocessing=loaded.preprocessing, **config.data.feeding_arguments())
        data.setup()
    except (UserError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the run's own test images are not there ({reason}); name others with images=FOLDER"
        ) from error
    config.model.weights, config.trainer.compile = "none", False  # the checkpoint has the weights
    task = build_task(config, data, loaded.preprocessing)
    task.load_state_dict(read_checkpoint(file)["state_dict"])
    return data, task.eval()
