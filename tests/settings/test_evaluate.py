"""The keys of `python evaluate.py`: help at once, mistakes together, the run's own data with overrides on top."""

import subprocess
import sys
from pathlib import Path

import pytest

from settings.commands.evaluate import ATTACKS, COMMAND, SPLITS, VIEWS, compose_jobs, data_config
from settings.commands.launch import launch
from settings.errors import UserError
from settings.reading.compose import compose

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder that is found by its name, as far as a configuration goes."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "digits-mlp" / "first"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_text("")
    (folder / "summary.json").write_text("{}")
    (folder / "config.yaml").write_text(compose(["model=mlp", "data.val_fraction=0.2"]).to_yaml())
    return folder


def test_help_names_every_key_without_a_heavy_import():
    code = "import runpy, sys; sys.argv = ['evaluate.py', '--help']\n"
    code += "try: runpy.run_path('evaluate.py', run_name='__main__')\nexcept SystemExit as stop: assert not stop.code\n"
    code += "print('modules:', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    page, _, modules = result.stdout.rpartition("modules:")
    assert not {"torch", "hydra", "pydantic", "matplotlib"} & set(modules.split())
    assert page.strip() == COMMAND.format_help().strip()
    for word in [
        *COMMAND.keys,
        *(
            f"{key}={one}"
            for key, few in zip(("split", "views", "attack"), (SPLITS, VIEWS, ATTACKS), strict=True)
            for one in few
        ),
    ]:
        assert f"  {word} " in page
    assert max(map(len, page.splitlines())) <= 120


MISTAKES = {
    "": ["run is needed"],
    "run=frist": ["no such run", "nearest: first"],
    "run=first views=tencrop split=tset": ["ten_crop", "nearest: test"],
    "run=first veiws=flip": ["unknown key veiws; nearest: views"],
    "ckpt=first tta=true bs=4": ["write run", "write views", "write batch_size", "run is needed"],
    "first": ["'first': must be key=value, such as run=first"],
    "run=first optimizer.lr=0.1 trainer.devices=2": [
        "optimizer.lr belongs to training",
        "trainer.devices belongs to training",
    ],
    "run=first data.val_fractoin=0.2 data.batch_size=x": [
        "data.val_fraction",
        "data.batch_size=x: must be a whole number",
    ],
    "run=first data=fashion_mnits": ["fashion_mnist"],
    "run=first eps=0.1 scales=2 crop_fraction=0.5": [
        "eps does nothing without attack",
        "views=multi_scale",
        "ten_crop",
    ],
    "run=first attack=fsgm": ["attack=fsgm: must be one or more of fgsm, pgd (nearest: fgsm)"],
    "run=first attack=pgd eps=0.1,2": ["from 0 to 1"],
    "run=first bootstrap=-1 hardest=0 batch_size=a seed=1.5": ["bootstrap=-1", "hardest=0", "batch_size=a", "seed=1.5"],
    "run=first corruptions=yes": ["must be true or false"],
    "run=first robustness_images=5": ["does nothing without corruptions, attack, curves or shortcut"],
    "run=first output=runs/digits-mlp/first/summary.json": ["is a file; name a folder"],
    "run=first -m": ["-m is not taken"],
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_named_together(arguments, run, capsys):
    words = [*arguments.split(), f"paths.runs={run.parents[1]}"]
    assert (
        launch(lambda job: pytest.fail("it ran"), words, compose_jobs=compose_jobs, help_page=COMMAND.format_help) == 2
    )
    said = capsys.readouterr().err
    for part in MISTAKES[arguments]:
        assert part in said
    assert len(said.splitlines()) <= 12 and "Traceback" not in said
    assert sorted(one.name for one in run.iterdir()) == ["checkpoints", "config.yaml", "summary.json"]


def test_values_are_read(run):
    words = ["run=first", "attack=pgd,fgsm", "eps=0,8/255", "output=a, b=c", f"paths.runs={run.parents[1]}"]
    (job,) = compose_jobs(words, False)
    assert (job.checkpoints, job.attack, job.eps) == ((run,), ("pgd", "fgsm"), (0.0, 8 / 255))
    assert job.output == Path.cwd() / "a, b=c"
    assert (job.split, job.views, job.bootstrap) == ("test", "centre", 1000)
    assert "ten_crop" not in job.to_yaml() and "pgd" in job.to_yaml()


def test_the_data_are_the_runs_own_with_overrides_on_top(tmp_path):
    stored = compose(["data=folder", "data.root=/photos", "data.label_from=^(a)_", "data.split_seed=3", "model=mlp"])
    own = data_config(stored.to_plain(), [])
    assert own.data.to_plain() == stored.data.to_plain() and own.model.name == "mlp"
    changed = data_config(stored.to_plain(), ["data.root=/other, [new]", "data.label_from=^([a-z]+)_"])
    assert (str(changed.data.root), changed.data.split_seed) == ("/other, [new]", 3)
    assert changed.data.arguments["label_from"] == "^([a-z]+)_"
    with pytest.raises(UserError, match="label_frm"):
        data_config(stored.to_plain(), ["data.label_frm=a"])


def test_images_for_a_run_of_a_packaged_set_are_a_folder_or_a_table(tmp_path):
    stored = compose(["data=fashion_mnist"]).to_plain()
    (tmp_path / "new" / "Coat").mkdir(parents=True)
    (tmp_path / "idx").mkdir()
    assert data_config(stored, [f"data.root={tmp_path / 'idx'}"]).data.name == "fashion_mnist"
    (tmp_path / "new" / "Coat" / "a.png").write_text("")
    assert data_config(stored, [f"data.root={tmp_path / 'new'}"]).data.name == "folder"
    assert data_config(stored, [f"data.root={tmp_path / 'new.csv'}"]).data.name == "csv"
