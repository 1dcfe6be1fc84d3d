"""Which process this is, from the variables that torchrun and srun set; and what a configuration makes of it."""

from pathlib import Path

import pytest

from settings.errors import UserError
from settings.reading.compose import compose, compose_jobs
from settings.schema.run_config import taken_over
from settings.world import ELSEWHERE, SLURM, TORCHRUN, launched

TWO_BY_TWO = {
    **{"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"},
    **{"GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "gpu03", "MASTER_PORT": "29500"},
}
SRUN = {
    **{"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_NNODES": "2"},
    **{"SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_ID": "1234567", "SLURM_JOB_NODELIST": "gpu[03-04],gpu9"},
}


@pytest.fixture
def around(monkeypatch):
    """Nothing of a launcher that may run these tests; then the given variables."""
    for name in (*TORCHRUN, *SLURM, *ELSEWHERE, "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def put(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def test_torchruns_variables_there_and_back():
    world = launched(TWO_BY_TWO)
    assert (world.launcher, world.rank, world.size, world.node, world.nodes) == ("torchrun", 3, 4, 1, 2)
    assert world.variables() == TWO_BY_TWO


def test_srun_gives_rank_machine_and_meeting_point():
    world = launched(SRUN)
    assert (world.launcher, world.rank, world.size, world.local_rank, world.local_size) == ("SLURM", 2, 4, 0, 2)
    assert (world.node, world.nodes, world.address, world.port) == (1, 2, "gpu03", 15000 + 4567)
    assert launched({**SRUN, "SLURM_JOB_NODELIST": "node1,node2"}).address == "node1"
    assert launched({**SRUN, **TWO_BY_TWO}).launcher == "torchrun", "torchrun runs under SLURM, too"


def test_one_task_and_an_interactive_shell_are_no_launcher():
    assert launched({}) is None
    assert launched({**SRUN, "SLURM_NTASKS": "1"}) is None
    assert launched({**SRUN, "SLURM_JOB_NAME": "interactive"}) is None


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({**TWO_BY_TWO, "WORLD_SIZE": "3"}, "3 processes on 2 machines, 2 on this one"),
        ({**SRUN, "SLURM_NTASKS": "5"}, "5 tasks on 2 machines"),
        ({**TWO_BY_TWO, "RANK": "one"}, "cannot be read"),
    ],
)
def test_variables_that_contradict_each_other_are_named(variables, said):
    with pytest.raises(UserError, match=said):
        launched(variables)


def test_devices_and_machines_follow_the_launcher(around):
    assert compose([]).trainer.processes == 1
    around(TWO_BY_TWO)
    config = compose(["data.batch_size=64"])
    assert (config.trainer.devices, config.trainer.num_nodes, config.trainer.processes) == (2, 2, 4)
    assert compose(["trainer.devices=2"]).trainer.processes == 4
    assert compose(["trainer.devices=auto"]).trainer.devices == 2


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trainer.devices=4", "trainer.devices=4: torchrun started 2 processes on this machine"),
        ("trainer.devices=1", "trainer.devices=1: torchrun started 2"),
        ("trainer.num_nodes=3", "trainer.num_nodes=3: torchrun started 2 machines"),
        ("data.batch_size=66", "must divide by 4"),
    ],
)
def test_what_contradicts_the_launcher_is_a_mistake(around, typed, said):
    around(TWO_BY_TWO)
    with pytest.raises(UserError, match=said):
        compose([typed])


def test_runs_of_a_grid_in_one_job_are_told_apart(around):
    around({"SLURM_JOB_ID": "77"})
    assert [config.name for config in compose_jobs(["seed=0,1"], multirun=True)] == ["slurm-77-0", "slurm-77-1"]
    assert compose([]).name is None


def test_machines_without_a_launcher_have_to_know_each_other(around):
    with pytest.raises(UserError, match="start it with torchrun or srun, or set MASTER_ADDR"):
        compose(["trainer.num_nodes=2"])
    around({"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "0"})
    assert compose(["trainer.num_nodes=2"]).trainer.processes == 2


def test_a_configuration_is_handed_over_whole():
    config = compose(["optimizer=sgd", "augment=light", "data=fashion_mnist", "name=a, b"])
    config.run_folder, config.dropped_augment = Path("/a/b"), ["flip"]
    found = taken_over(config.handed_over())
    assert found == config
    assert (found.run_folder, found.parent, found.command, found.dropped_augment) == (
        *(Path("/a/b"), None),
        *(config.command, ["flip"]),
    )
