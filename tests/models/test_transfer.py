"""The table of modes: which stages train in which epoch, as written down by hand."""

import pytest

from models.transfer import MODES, WITH_ADAPTERS, TransferPlan
from settings.errors import UserError

STAGES = ("stem", "stage1", "stage2", "stage3", "head")


def plan(mode, epochs=6, **arguments):
    names = (*STAGES[:-1], "adapters", "head") if mode in WITH_ADAPTERS else STAGES
    return TransferPlan(mode=mode, stages=names, epochs=epochs, arguments=arguments)


def trained(mode, **arguments):
    """Number of trained stages in each epoch; they are always the last ones."""
    made = plan(mode, **arguments)
    for epoch in range(made.epochs):
        assert list(made.shares(epoch)) == list(STAGES[-len(made.shares(epoch)) :])
    return [len(made.shares(epoch)) for epoch in range(made.epochs)]


def test_which_stages_train_in_which_epoch():
    assert trained("scratch") == trained("full") == trained("discriminative") == [5] * 6
    assert trained("head_only") == [1] * 6
    assert [list(plan("lora", rank=4).shares(epoch)) for epoch in range(6)] == [["adapters", "head"]] * 6
    assert trained("partial", stages=3) == trained("partial", stages=["stage2", "stage3"]) == [3] * 6
    assert trained("partial", stages=0.5) == trained("partial", stages=0.4) == [2] * 6
    assert trained("partial", stages=0.01) == [1] * 6
    assert trained("gradual") == [1, 1, 2, 3, 4, 5]
    assert trained("gradual", head_epochs=1, stage_epochs=2) == [1, 2, 2, 3, 3, 4]
    assert trained("gradual", schedule="everything", head_epochs=4) == [1, 1, 1, 1, 5, 5]


def test_rates_fall_towards_the_input():
    assert plan("discriminative", decay=0.5).peak == {
        "stem": 0.0625, "stage1": 0.125, "stage2": 0.25, "stage3": 0.5, "head": 1.0
    }  # fmt: skip
    assert plan("gradual", epochs=4, decay=0.5).peak == {
        "stem": 0.0, "stage1": 0.0, "stage2": 0.25, "stage3": 0.5, "head": 1.0
    }  # fmt: skip
    assert plan("partial", stages=["stage1"], decay=0.1).peak["stage1"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("mode", "is_uniform", "freezes"),
    [
        ("scratch", True, False),
        ("full", True, False),
        ("head_only", False, True),
        ("partial", False, True),
        ("gradual", False, True),
        ("discriminative", False, False),
        ("lora", False, True),
    ],
)
def test_what_is_uniform_and_what_freezes(mode, is_uniform, freezes):
    assert (plan(mode).is_uniform, plan(mode).freezes) == (is_uniform, freezes)


def test_epochs_are_told_from_one():
    made = plan("gradual", epochs=4)
    assert [made.epochs_of(name) for name in STAGES] == ["never", "never", "4", "3-4", "1-4"]


def test_stages_that_a_longer_training_would_reach_are_named():
    assert plan("gradual", epochs=6).warning() is None
    assert plan("head_only").warning() is None
    assert "epochs=4 ends before stem, stage1 train" in plan("gradual", epochs=4).warning()
    assert "ends before stem trains" in plan("gradual", epochs=5).warning()
    late = plan("gradual", epochs=2, schedule="everything", head_epochs=2).warning()
    assert "stem, stage1, stage2, stage3 train" in late


@pytest.mark.parametrize(
    ("mode", "arguments", "words"),
    [
        ("partial", {"stages": ["stage4"]}, ["unknown stage 'stage4'", "nearest: stage", "the net has stem, stage1"]),
        ("partial", {"stages": ["stem", "stage1", "stage2", "stage3"]}, ["nothing would be frozen", "transfer=full"]),
        ("partial", {"stages": 5}, ["trains all 5 stages"]),
        ("partial", {"stages": 0.99}, ["trains all 5 stages"]),
        ("head_onyl", {}, ["unknown transfer 'head_onyl'", "nearest: head_only"]),
    ],
)
def test_mistakes_are_named(mode, arguments, words):
    with pytest.raises(UserError) as error:
        plan(mode, **arguments)
    for word in words:
        assert word in str(error.value)


def test_a_mode_of_a_forkers_that_slips_is_told(monkeypatch):
    monkeypatch.setitem(MODES, "none", lambda names, epoch: {} if epoch == 1 else {"head": 1.0})
    with pytest.raises(UserError, match="nothing trains in epoch 2"):
        plan("none")
    monkeypatch.setitem(MODES, "typo", lambda names, epoch: {"haed": 1.0})
    with pytest.raises(UserError, match="unknown stage 'haed'; nearest: head"):
        plan("typo")
    monkeypatch.setitem(MODES, "drift", lambda names, epoch: {"head": 1.0 + epoch})
    with pytest.raises(ValueError, match=r"share of head from 1\.0 to 2\.0 in epoch 2"):
        plan("drift")


@pytest.mark.parametrize("mode", list(MODES))
def test_every_mode_says_in_each_epoch_which_stages_train(mode):
    made = plan(mode)
    assert made.freezes is any(set(made.shares(epoch)) < set(made.stages) for epoch in range(made.epochs))
    assert made.is_uniform is all(made.shares(epoch) == dict.fromkeys(made.stages, 1.0) for epoch in range(made.epochs))
