"""Our own source, read: nothing in it runs what a file says, and secrets stay out of the run folder."""

import ast
import os
from pathlib import Path

import pytest

from train import train

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("callbacks", "engine", "reports", "settings", "datamodules", "models")
CODE = ("*.py", *(f"{folder}/**/*.py" for folder in FOLDERS))

FORBIDDEN_CALLS = {
    "eval": "eval",
    "exec": "exec",
    "compile": "compile",
    "__import__": "__import__",
    "os.system": "a shell",
    "os.popen": "a shell",
    "yaml.unsafe_load": "yaml without a safe loader",
    "yaml.full_load": "yaml without a safe loader",
    "shutil.unpack_archive": "unfiltered extraction",
    "torch.hub.load": "code from the net",
    "torch.package.PackageImporter": "code of a file",
    "torch.jit.load": "code of a file",
    "load_from_checkpoint": "Lightning's own loading",
    "dcp.load": "distributed metadata, which is a pickle",
}
FORBIDDEN_IMPORTS = (
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "torch.distributed.checkpoint",
)
SAFE_LOADERS = ("SafeLoader", "CSafeLoader", "LOADER")  # LOADER: settings/reading/files.py, one of the two


def findings(source):
    """What a source does that could run a file's content: (line, what)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [f"{module}.{one.name}" if module else one.name for one in node.names]
            for name in names:
                if any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN_IMPORTS):
                    yield node.lineno, f"imports {name}"
        if isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in call_findings(node))


def call_findings(node):
    """What one call does that it must not."""
    called = ast.unparse(node.func)
    last = called.rpartition(".")[2]
    given = {one.arg: ast.unparse(one.value) for one in node.keywords if one.arg}
    for name, what in FORBIDDEN_CALLS.items():
        bare = "." not in name and name != "load_from_checkpoint"
        if called == name or (not bare and (called.endswith(f".{name}") or last == name)):
            yield what
    if called in ("torch.load", "torch.serialization.load") and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if last == "fit" and "ckpt_path" in given and given.get("weights_only") != "True":
        yield "fit(ckpt_path=...) without weights_only=True"
    if called in ("yaml.load", "yaml.load_all") and given.get("Loader", "").rpartition(".")[2] not in SAFE_LOADERS:
        yield "yaml without a safe loader"
    if last in ("load", "loads") and called.partition(".")[0] in ("pickle", "dill", "joblib", "marshal"):
        yield "pickle"
    if called in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False":
        yield "numpy's pickles"
    if given.get("shell", "False") != "False":
        yield "a shell"
    if last == "extractall" and given.get("filter") not in ("'data'", "'fully_trusted'") and "tar" in called.lower():
        yield "unfiltered extraction"
    if last in ("extract", "extractall", "extract_archive", "download_and_extract_archive") and "filter" not in given:
        yield "unfiltered extraction"


def test_our_source_runs_nothing_that_a_file_says():
    files = sorted({path for pattern in CODE for path in ROOT.glob(pattern)})
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in files
        for line, what in findings(path.read_text(encoding="utf-8"))
    ]
    assert found == []


PLANTED = {
    "torch.load(path)": "torch.load without",
    "torch.load(path, weights_only=False)": "torch.load without",
    "torch.load(path, weights_only=safe)": "torch.load without",
    "trainer.fit(task, ckpt_path=path)": "fit(ckpt_path",
    "Task.load_from_checkpoint(path)": "Lightning's own",
    "import pickle": "pickle",
    "def f():\n    from pickle import loads": "pickle",
    "import torch.distributed.checkpoint as dcp": "torch.distributed.checkpoint",
    "from torch.distributed import checkpoint": "torch.distributed.checkpoint",
    "import joblib": "joblib",
    "yaml.load(text)": "safe loader",
    "yaml.load(text, Loader=yaml.Loader)": "safe loader",
    "yaml.unsafe_load(text)": "safe loader",
    "eval(text)": "eval",
    "exec(text)": "exec",
    "__import__(name)": "__import__",
    "subprocess.run(line, shell=True)": "a shell",
    "subprocess.Popen(line, shell=flag)": "a shell",
    "os.system(line)": "a shell",
    "tarfile.open(path).extractall(folder)": "unfiltered",
    "zipfile.ZipFile(path).extractall(folder)": "unfiltered",
    "extract_archive(path, folder)": "unfiltered",
    "shutil.unpack_archive(path)": "unfiltered",
    "np.load(path, allow_pickle=True)": "numpy's pickles",
    "torch.hub.load(repo, name)": "code from the net",
    "torch.jit.load(path)": "code of a file",
}


@pytest.mark.parametrize("source", PLANTED)
def test_a_planted_danger_is_found(source):
    assert any(PLANTED[source] in what for _, what in findings(source)), list(findings(source))


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, map_location='cpu', weights_only=True)",
        "yaml.load(text, Loader=LOADER)\nyaml.safe_load(text)",
        "net.eval()\nmodel.compile()\nre.compile(text)\njson.load(file)\nsubprocess.run(['git'])",
        "tar.extractall(folder, filter='data')",
    ],
)
def test_what_is_harmless_is_not_reported(source):
    assert list(findings(source)) == []


SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "aws-ZZtopsecretZZ",
    "HF_TOKEN": "hf_ZZtopsecretZZ",
    "MY_PASSWORD": "pw-ZZtopsecretZZ",
}


@pytest.mark.parametrize("logger", ["csv", pytest.param("wandb", marks=pytest.mark.slow)])
def test_secrets_of_the_environment_appear_in_no_file_of_the_run(logger, tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    words = ["data.per_class=4", "model=mlp", "trainer.max_epochs=1", "data.batch_size=20", f"logger={logger}"]
    train([*words, f"paths.runs={tmp_path / 'runs'}"])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 6
    for path in files:
        content = path.read_bytes()
        for name, value in SECRETS.items():
            assert value.encode() not in content, (path, name)
    with pytest.raises(ValueError, match="interpolations"):
        train([*words, "logger.notes=${oc.env:MY_PASSWORD}", "optimizer.lr=${oc.env:MY_PASSWORD}"])
    assert os.environ["MY_PASSWORD"] == SECRETS["MY_PASSWORD"]
