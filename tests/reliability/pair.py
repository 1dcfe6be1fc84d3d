"""What each of two processes does for `test_two_processes.py`: `torchrun --nproc_per_node=2 pair.py FOLDER`.

Scores 1 to 40 images in the real loops, then trains; every process writes what it found.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

import engine.test_best
from callbacks.tested_images import CollectTested
from engine.data_and_task import build_data, build_task
from engine.launcher import process_arguments, together
from engine.process_group import Members
from settings.reading.compose import compose
from train import fit_and_test

SMALL = ["data=digits", "data.batch_size=8", "model=cnn", "model.widths=[6,6]", "trainer.accelerator=cpu"]
TRAINED = [*SMALL, "data.per_class=12", "data.forbid=[]", "augment=light", "trainer.max_epochs=2", "name=pair"]
COUNTS = range(1, 41)


def scores(config: Any, members: Members) -> dict[str, Any]:
    """Metrics, counts and labels of the first 1 to 40 images, by the real validation and test loops."""
    data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    whole = dict(data.splits)
    found = {}
    for count in COUNTS:
        data.splits = {split: source.subset(torch.arange(count)) for split, source in whole.items()}
        for split in ("val", "test"):
            seen = CollectTested(hardest=5, mean=[0.0], std=[1.0])
            trainer = Trainer(
                **process_arguments(members, config.trainer.computing_arguments()),
                callbacks=[seen],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            run = trainer.validate if split == "val" else trainer.test
            run(task, datamodule=data, verbose=False)
            found[f"{split} {count}"] = {
                "metrics": {key: value for key, value in task.epoch_metrics.items() if key.startswith(split)},
                "counts": torch.stack([task.total(split)[name] for name in ("hits", "predicted", "support")]),
                **(
                    {"labels": torch.stack(seen.labels or ()), "hard": seen.hardest[0].index} if split == "test" else {}
                ),
            }
    return found


def work(config: Any, members: Members) -> dict[str, Any]:
    """All that one process does; its weights when training has ended."""
    found: dict[str, Any] = {"scores": scores(config, members)}
    original = engine.test_best.fit

    def fit(training: Any, task: Any, *rest: Any) -> Any:
        stopped = original(training, task, *rest)
        found["weights"] = {name: value.clone() for name, value in task.named_parameters()}
        return stopped

    engine.test_best.fit = fit
    fit_and_test(config, members)
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    result = together(compose([*TRAINED, f"paths.runs={folder / 'runs'}"]), work)
    rank = torch.distributed.get_rank()
    torch.save(result, folder / f"rank-{rank}.pt")
