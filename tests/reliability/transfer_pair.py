"""Six cells in each of two processes: `torchrun --nproc_per_node=2 -m tests.reliability.transfer_pair FOLDER`.

Every process holds what changed in each epoch against the plan, and writes the parameters that it ends with.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from engine.launcher import together
from engine.process_group import Members
from settings.reading.compose import compose
from tests.reliability import transfer_cells
from tests.reliability.transfer_cells import EPOCHS, overrides, watched
from train import fit_and_test

CELLS = [
    ("head_only", "timm", "one_cycle"),
    ("partial", "torchvision", "step"),
    ("gradual", "own", "cosine"),
    ("gradual", "timm", "plateau"),
    ("discriminative", "own", "plateau"),
    ("lora", "torchvision", "cosine"),
]


def work(config: Any, members: Members) -> dict[str, Any]:
    """All cells, one after the other."""
    found = {}
    for cell in CELLS:
        again = compose(
            [*overrides(*cell), "trainer.devices=2", f"name={'-'.join(cell)}", f"paths.runs={config.paths.runs}"]
        )
        watch = watched(lambda again=again: fit_and_test(again, members))
        # Statistics of a trained batch norm are each process's own until the next step.
        trained = watch.check(statistics=False)
        buffers = (".running_mean", ".running_var", "num_batches_tracked")
        end = {name: value for name, value in watch.seen[EPOCHS].items() if not name.endswith(buffers)}
        found["-".join(cell)] = {"trained": trained, "parameters": end}
    return found


if __name__ == "__main__":
    transfer_cells.register_vit_cell()
    folder = Path(sys.argv[1])
    config = compose([*overrides(*CELLS[0]), "trainer.devices=2", f"paths.runs={folder / 'runs'}"])
    result = together(config, work)
    torch.save(result, folder / f"rank-{torch.distributed.get_rank()}.pt")
