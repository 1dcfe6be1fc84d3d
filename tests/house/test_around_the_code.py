"""What stands around the code says what the code is: versions, robots, systems."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_one_version_stands_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == cited["version"] == PROJECT["version"] and cited["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()


def test_commits_pass_the_robots_of_the_workflow():
    """The same programs of the same environment, and no copies of theirs with versions of their own."""
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    assert {hook["language"] for hook in hooks} == {"system"}
    (job,) = WORKFLOW["jobs"].values()
    lines = " && ".join(step.get("run", "") for step in job["steps"])
    for hook in hooks:
        program = hook["entry"].replace(" --force-exclude", "")
        assert program in lines and program in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        assert any(package.startswith(program.split()[0]) for package in PROJECT["optional-dependencies"]["dev"])


def test_the_workflow_knows_every_python_and_system():
    (job,) = WORKFLOW["jobs"].values()
    matrix = job["strategy"]["matrix"]
    low, high = (int(minor) for minor in re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    assert matrix["python"] == [f"3.{minor}" for minor in range(low, high)]
    assert {name.partition("-")[0] for name in matrix["system"]} == {"ubuntu", "macos", "windows"}
    tried = [word for step in job["steps"] for word in step.get("run", "").split() if word.startswith("tests/")]
    assert tried and all((ROOT / word).is_dir() for word in tried)


def test_the_container_starts_what_is_there():
    copied = DOCKERFILE.partition("COPY pyproject.toml")[2].partition(" ./")[0].split()
    assert all((ROOT / name).is_file() for name in copied)
    assert 'ENTRYPOINT ["python", "train.py"]' in DOCKERFILE and "--torch-backend=${TORCH}" in DOCKERFILE
    version = re.search(r"^FROM python:3\.(\d+)", DOCKERFILE, re.MULTILINE)
    assert f"3.{version[1]}" in next(iter(WORKFLOW["jobs"].values()))["strategy"]["matrix"]["python"]


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda one: one.stem
)
def test_forms_of_issues_are_whole(form):
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= content.keys()
    assert len({one["id"] for one in content["body"]}) == len(content["body"])
    assert all(one["type"] in ("textarea", "input") and one["attributes"]["label"] for one in content["body"])
