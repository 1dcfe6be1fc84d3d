"""Carries out a transfer plan on a net: gradients, evaluation mode of frozen parts, parameter groups, a row a stage.

A frozen parameter has no gradient, so every optimiser passes it over: neither weight decay nor momentum moves
it, and its state begins when it first trains. A frozen module stays in evaluation mode, so that batch norm's
statistics and dropout rest, too. All parameters require gradients until the first epoch begins, as
distributed wrappers ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from models.optim import parameter_groups
from models.stages import Stage, stages
from models.transfer import TransferPlan

COLUMNS = ("stage", "tensors", "parameters", "learning_rate", "weight_decay", "epochs")


class Freezing:
    """The stages of one net under one plan.

    Args:
        net: the net; its parameters may move to another device afterwards.
        plan: made for `stages(net)`; without one, everything trains alike.
    """

    def __init__(self, net: nn.Module, plan: TransferPlan | None = None) -> None:
        self.net = net
        self.stages: list[Stage] = stages(net)
        names = tuple(stage.name for stage in self.stages)
        self.plan = plan or TransferPlan(mode="full", stages=names, epochs=1)
        self.frozen: list[nn.Module] = []
        """Modules that rest in the current epoch."""

    def start_epoch(self, epoch: int) -> None:
        """Freeze and unfreeze as the plan has it for this epoch (from 0); twice is as good as once."""
        if not self.plan.freezes:
            return
        trained = self.plan.shares(epoch)
        owner: dict[int, str] = {}
        for stage in self.stages:
            for parameter in stage.parameters.values():
                owner[id(parameter)] = stage.name
                parameter.requires_grad_(stage.name in trained)
                if stage.name not in trained:
                    parameter.grad = None
        self.frozen = [module for module, names in _stages_of_modules(self.net, owner) if not names & trained.keys()]
        for module in self.net.modules():
            module.training = True
        self.hold()

    def hold(self) -> None:
        """Put the frozen modules into evaluation mode; after each `train()` of the whole."""
        for module in self.frozen:
            module.training = False

    def groups(self, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups of all parameters, those that train later or never included."""
        shares = None if self.plan.is_uniform else self.plan.peak
        return parameter_groups(self.stages, lr=lr, weight_decay=weight_decay, shares=shares)

    @property
    def trainable_parameters(self) -> int:
        """Numbers that train in at least one epoch."""
        trained = [stage for stage in self.stages if self.plan.peak[stage.name]]
        return sum(value.numel() for stage in trained for value in stage.parameters.values())

    def rows(self, *, lr: float, weight_decay: float) -> Iterator[tuple[str, int, int, float, float, str]]:
        """`COLUMNS` for each stage: the rate at its peak, the decay of its weights, epochs counted from 1."""
        for stage in self.stages:
            share = self.plan.peak[stage.name]
            sizes = [value.numel() for value in stage.parameters.values()]
            decay = weight_decay if share else 0.0
            yield stage.name, len(sizes), sum(sizes), lr * share, decay, self.plan.epochs_of(stage.name)

    def said(self) -> str:
        """How much trains, in one line."""
        total = sum(value.numel() for stage in self.stages for value in stage.parameters.values())
        return f"transfer={self.plan.mode}: {self.trainable_parameters:,} of {total:,} parameters train"


def _stages_of_modules(net: nn.Module, owner: dict[int, str]) -> Iterator[tuple[nn.Module, frozenset[str]]]:
    """Each module and the stages it belongs to; one without parameters (dropout) goes with what follows it.

    `owner` says the stage of a parameter by its id. What follows is the next module beside it with parameters;
    where there is none, it goes with the module that it stands in.
    """

    def names(module: nn.Module) -> list[str]:
        return [owner[id(parameter)] for parameter in module.parameters()]

    def walk(module: nn.Module, inside: frozenset[str]) -> Iterator[tuple[nn.Module, frozenset[str]]]:
        yield module, inside
        following = inside
        for child in reversed(list(module.children())):
            if own := names(child):
                yield from walk(child, frozenset(own))
                following = frozenset(own[:1])
            else:
                yield from ((each, following) for each in child.modules())

    yield from walk(net, frozenset(names(net)))
