"""Modes of transfer learning: which stages of a net train in which epoch, and how fast.

A mode is a pure function of (stage names from input to output, epoch from 0): it returns the stages that train
in that epoch, each with its share of `optimizer.lr`. What it leaves out is frozen: no gradient, no weight
decay, no momentum, batch norm's statistics and dropout as in evaluation. So a run that goes on knows what trains
without remembering anything. The last stage is always "head", the only one that is new for new classes.

The docstrings are the method cards: idea, when, cost, source. A new mode is one function, one row in `MODES` and
one file `configs/transfer/<name>.yaml`; its keyword arguments are keys of that file. No torch in here: the
configuration is checked against these signatures in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from settings.errors import UserError, nearest, unknown

Shares = dict[str, float]
"""Stage -> share of `optimizer.lr`, for the stages that train."""


def scratch(names: Sequence[str], epoch: int) -> Shares:
    """Every weight starts at random and trains.

    Idea: no transfer, the reference for all other modes. When: much data, or images unlike any that weights
    were trained on. Cost: the most epochs; forward and backward through the whole net. Source: He et al. 2019,
    Rethinking ImageNet Pre-training, arxiv.org/abs/1811.08883.
    """
    return dict.fromkeys(names, 1.0)


def full(names: Sequence[str], epoch: int) -> Shares:
    """Every weight starts from the pretrained one and trains, all at the same rate.

    Idea: the weights are a start, not a limit. When: enough data to not forget what was learnt (some hundred
    images a class), with a learning rate about a tenth of that from scratch. Cost: a step as dear as from
    scratch, but few epochs. Source: Yosinski et al. 2014, arxiv.org/abs/1411.1792.
    """
    return dict.fromkeys(names, 1.0)


def head_only(names: Sequence[str], epoch: int) -> Shares:
    """Only the head trains: a linear classifier on frozen features.

    Idea: what the net has learnt to see is kept as it is. When: few images (tens a class) that resemble those of
    the weights; always as a first look. Cost: the cheapest, as nothing is differentiated below the head and the
    optimiser holds state for the head alone. Source: Sharif Razavian et al. 2014, arxiv.org/abs/1403.6382.
    """
    return {"head": 1.0}


def partial(
    names: Sequence[str],
    epoch: int,
    *,
    stages: Annotated[int, "x >= 1"] | Annotated[float, "0 < x < 1"] | Annotated[list[str], "len(x) >= 1"] = 0.5,
    decay: Annotated[float, "0 < x <= 1"] = 1.0,
) -> Shares:
    """The last stages train, the first are frozen.

    Idea: early stages see edges and colours, which are the same everywhere; late ones see objects. When: a
    moderate number of images, or images of another kind than the weights'. Cost: between head_only and full; the
    backward pass ends at the first trained stage. Source: Yosinski et al. 2014, arxiv.org/abs/1411.1792.

    Args:
        names: stages from input to output.
        epoch: of no influence.
        stages: how many train, counted from the head; or which part of them; or their names (the head trains in
            any case).
        decay: rate of each trained stage as a share of the next one's, towards the input.

    Raises:
        UserError: there is no such stage, or nothing would be frozen.
    """
    if isinstance(stages, list):
        if wrong := [name for name in stages if name not in names]:
            raise UserError(*(f"transfer.stages: {_unknown_stage(name, names)}" for name in wrong))
        trained = [name for name in names if name in stages or name == "head"]
    else:
        count = stages if isinstance(stages, int) else max(1, round(stages * len(names)))
        trained = list(names[-count:])
    if len(trained) == len(names):
        raise UserError(
            f"transfer.stages={stages} trains all {len(names)} stages ({', '.join(names)}): nothing would be frozen; "
            "take fewer, or transfer=full"
        )
    return _decayed(names, trained, decay)


def gradual(
    names: Sequence[str],
    epoch: int,
    *,
    schedule: Literal["stages", "everything"] = "stages",
    head_epochs: Annotated[int, "x >= 1"] = 2,
    stage_epochs: Annotated[int, "x >= 1"] = 1,
    decay: Annotated[float, "0 < x <= 1"] = 1.0,
) -> Shares:
    """The head trains first; then one stage more at a time, from the output inwards, or everything at once.

    Idea: a random head sends large, meaningless gradients down the net; let it learn before the rest may move.
    When: few or moderately many images and a net worth keeping. Cost: cheap epochs first, full ones later; the
    learning-rate schedule runs over the whole training, so that what is unfrozen late starts at the rate of that
    moment. Source: Howard and Ruder 2018 (ULMFiT), arxiv.org/abs/1801.06146, which adds `decay`; Kumar et al.
    2022, arxiv.org/abs/2202.10054, for head first, then everything.

    Args:
        names: stages from input to output.
        epoch: epochs done.
        schedule: `stages`: one more every `stage_epochs` epochs; `everything`: all at once.
        head_epochs: epochs in which the head trains alone.
        stage_epochs: epochs between two stages.
        decay: rate of each stage as a share of the next one's, towards the input.
    """
    if epoch < head_epochs:
        count = 1
    elif schedule == "everything":
        count = len(names)
    else:
        count = 2 + (epoch - head_epochs) // stage_epochs
    return _decayed(names, names[-count:], decay)


def discriminative(names: Sequence[str], epoch: int, *, decay: Annotated[float, "0 < x <= 1"] = 0.7) -> Shares:
    """Everything trains, each stage at `decay` times the learning rate of the stage after it.

    Idea: the nearer to the input, the more general a stage is, and the less it should change. When: as full, and
    safer with fewer images; usual for transformers. Cost: as full; `decay` is one more number to choose (0.65 to
    0.8 for transformers, ULMFiT's 1 / 2.6 for a few coarse stages). Source: Howard and Ruder 2018,
    arxiv.org/abs/1801.06146; Bao et al. 2022 (BEiT), arxiv.org/abs/2106.08254.

    Args:
        names: stages from input to output.
        epoch: of no influence.
        decay: rate of each stage as a share of the next one's, towards the input.
    """
    return _decayed(names, names, decay)


def lora(
    names: Sequence[str],
    epoch: int,
    *,
    rank: Annotated[int, "x >= 1"] = 8,
    alpha: Annotated[float, "x > 0"] = 16.0,
    dropout: Annotated[float, "0 <= x < 1"] = 0.0,
    targets: Annotated[Sequence[Literal["qkv", "proj"]], "len(x) >= 1"] = ("qkv", "proj"),
) -> Shares:
    """The head and low-rank adapters on the attention weights train; every weight of the net itself is frozen.

    Idea: what a task adds to a weight has a low rank, so two thin matrices whose product is added to it are enough;
    afterwards they are merged into it and cost nothing. When: a large vision transformer and few or moderately many
    images. Cost: optimiser state and checkpointed changes for about a hundredth of the parameters; forward and
    backward through the whole net; a learning rate about ten times that of full. Source: Hu et al. 2022,
    arxiv.org/abs/2106.09685.

    Args:
        names: stages from input to output, "adapters" the last but one.
        epoch: of no influence.
        rank: of the adapters, which models/lora.py adds to the net, as are the others.
        alpha: the update is multiplied by alpha / rank.
        dropout: of the adapters' input features.
        targets: `qkv`, `proj` or both.
    """
    return {"adapters": 1.0, "head": 1.0}


MODES: dict[str, Callable[..., Shares]] = {
    "scratch": scratch,
    "full": full,
    "head_only": head_only,
    "partial": partial,
    "gradual": gradual,
    "discriminative": discriminative,
    "lora": lora,
}
WITH_ADAPTERS = frozenset({"lora"})
"""Modes whose arguments are those of low-rank adapters, which the net is then built with."""


@dataclass(frozen=True, kw_only=True)
class TransferPlan:
    """A mode applied to the stages of one net for a number of epochs.

    Args:
        mode: a key of `MODES`.
        stages: names from input to output.
        epochs: length of the training.
        arguments: the mode's own.

    Raises:
        UserError: there is no such mode, or its arguments do not suit the net.
    """

    mode: str
    stages: tuple[str, ...]
    epochs: int
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(unknown("transfer", self.mode, MODES))
        for epoch in range(self.epochs):
            shares = self.shares(epoch)
            if not shares:
                raise UserError(f"transfer={self.mode}: nothing trains in epoch {epoch + 1}")
            if wrong := [name for name in shares if name not in self.stages]:
                raise UserError(f"transfer={self.mode}: {_unknown_stage(wrong[0], self.stages)}")
            for name, share in shares.items():
                if share != self.peak[name]:
                    raise ValueError(
                        f"mode {self.mode} changes the share of {name} from {self.peak[name]} to {share} in epoch "
                        f"{epoch + 1}; a stage has one share, and a schedule changes rates in time"
                    )

    def shares(self, epoch: int) -> Shares:
        """The stages that train in an epoch (from 0), and at which share of the learning rate."""
        return MODES[self.mode](self.stages, epoch, **self.arguments)

    @cached_property
    def peak(self) -> Shares:
        """The share of each stage that trains in any epoch; 0 for those that never do."""
        found = dict.fromkeys(self.stages, 0.0)
        for epoch in reversed(range(self.epochs)):
            found |= self.shares(epoch)
        return found

    @cached_property
    def freezes(self) -> bool:
        """Whether any stage is frozen in any epoch."""
        return any(len(self.shares(epoch)) < len(self.stages) for epoch in range(self.epochs))

    @property
    def trains_head_alone(self) -> bool:
        """Whether nothing but the head ever trains."""
        return [name for name, share in self.peak.items() if share] == ["head"] != list(self.stages)

    @property
    def is_uniform(self) -> bool:
        """Whether all stages train alike in all epochs, so that none needs a group of its own."""
        return not self.freezes and set(self.peak.values()) == {1.0}

    def epochs_of(self, stage: str) -> str:
        """In which epochs a stage trains, counted from 1: "1-20", "3-20", "1-2, 5-6", "never"."""
        spans: list[list[int]] = []
        for epoch in range(self.epochs):
            if stage in self.shares(epoch):
                if spans and spans[-1][1] == epoch:
                    spans[-1][1] += 1
                else:
                    spans.append([epoch + 1, epoch + 1])
        said = [str(first) if first == last else f"{first}-{last}" for first, last in spans]
        return ", ".join(said) or "never"

    def warning(self) -> str | None:
        """What is unusual: stages that a longer training would reach."""
        late = {name for epoch in range(self.epochs, self.epochs + MOST_STAGES) for name in self.shares(epoch)}
        missed = [name for name in self.stages if name in late and not self.peak[name]]
        if not missed:
            return None
        return (
            f"transfer={self.mode}: trainer.max_epochs={self.epochs} ends before {', '.join(missed)} "
            f"train{'s' if len(missed) == 1 else ''}"
        )


MOST_STAGES = 1000
"""Epochs beyond the end in which `warning` looks for stages that would still come."""


def _decayed(names: Sequence[str], trained: Sequence[str], decay: float) -> Shares:
    last = len(names) - 1
    return {name: decay ** (last - index) for index, name in enumerate(names) if name in trained}


def _unknown_stage(name: str, names: Sequence[str]) -> str:
    close = nearest(name, names)
    hint = f"; nearest: {', '.join(close)}" if close else ""
    return f"unknown stage {name!r:.60}{hint}; the net has {', '.join(names)}"
