"""What a tracker takes as names: checked before a run begins, without importing it.

Weights & Biases has the same limits in `wandb/sdk/wandb_settings.py`, and says so with a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from settings.errors import nearest

MODES = ("online", "offline", "shared", "disabled", "dryrun", "run")
NOT_IN_A_PROJECT = "/\\#?%:"
LONGEST_NAME, LONGEST_TAG = 128, 64


def wandb_mistakes(section: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(key of `logger`, or "" for the environment; what is wrong) of names that Weights & Biases refuses."""
    named = {"project": section.get("project"), "WANDB_PROJECT": environment.get("WANDB_PROJECT")}
    for where, project in named.items():
        if isinstance(project, str) and (text := _wrong_project(project)):  # the signature says what else it must be
            yield _placed(where, project, text)
    tags = {"tags": section.get("tags"), "WANDB_TAGS": environment.get("WANDB_TAGS", "").split(",")}
    for where, several in tags.items():
        for tag in [several] if isinstance(several, str) else several or ():
            if isinstance(tag, str) and len(tag) > LONGEST_TAG:
                yield _placed(where, tag, f"has {len(tag)} characters; a tag of wandb has at most {LONGEST_TAG}")
    mode = environment.get("WANDB_MODE") or "online"
    if mode not in MODES:
        close = ", ".join(nearest(mode, MODES)) or ", ".join(MODES)
        yield "", f"WANDB_MODE={mode!r:.40} in the environment is no mode of wandb; nearest: {close}"


def _wrong_project(name: str) -> str:
    if found := sorted(set(NOT_IN_A_PROJECT) & set(name)):
        better = name
        for one in found:
            better = better.replace(one, "-")
        team = "; a team is logger.entity" if "/" in found else ""
        return f"a project of wandb must not hold {' '.join(found)}: write {better}{team}"
    return f"has {len(name)} characters; a project of wandb has at most {LONGEST_NAME}" * (len(name) > LONGEST_NAME)


def _placed(where: str, value: str, text: str) -> tuple[str, str]:
    if where.startswith("WANDB_"):
        return "", f"{where}={value:.40} in the environment: {text}"
    return where, f"={value:.40}: {text}"
