"""Lightning's callbacks by name: which there are is read from source, and those that cannot work name what can."""

import subprocess
import sys

import pytest
from lightning.pytorch import callbacks

from settings.errors import UserError
from settings.paths import ROOT
from settings.reading.compose import compose
from settings.schema import lightning_callbacks, signatures

MODULE = lightning_callbacks.MODULE
SWA = [f"callbacks.swa._target_={MODULE}.StochasticWeightAveraging", "callbacks.swa.swa_lrs=0.01"]


def test_all_of_lightnings_are_known_or_have_something_in_their_place() -> None:
    assert {*lightning_callbacks.known(), *lightning_callbacks.INSTEAD} == set(callbacks.__all__)
    assert not set(lightning_callbacks.known()) & set(lightning_callbacks.INSTEAD)


def test_a_signature_is_read_through_lightnings_files() -> None:
    found = signatures.parameters(f"{MODULE}.SpikeDetection")  # inherits its constructor from another package
    assert found is not None and list(found)[:3] == ["mode", "window", "warmup"]


@pytest.mark.parametrize("name", sorted(lightning_callbacks.INSTEAD))
def test_those_that_cannot_work_say_what_to_use(name: str) -> None:
    with pytest.raises(UserError) as caught:
        compose([f"callbacks.mine._target_={MODULE}.{name}"])
    assert lightning_callbacks.INSTEAD[name] in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([f"callbacks.mine._target_={MODULE}.DeviceStatMonitor"], "nearest: DeviceStatsMonitor"),
        ([f"callbacks.mine._target_={MODULE}.stochastic_weight_avg.StochasticWeightAveraging"], "is not allowed"),
        (["callbacks.mine._target_=lightning.pytorch.Trainer"], "is not allowed"),
        (["callbacks.mine._target_=callbacks.checkpoint.TorchCheckpointIO"], "has no class TorchCheckpointIO"),
        ([f"callbacks.mine._target_={MODULE}.DeviceStatsMonitor", "callbacks.mine.cpu_stat=true"], "mine.cpu_stats"),
        ([f"callbacks.mine._target_={MODULE}.DeviceStatsMonitor", "callbacks.mine.cpu_stats=2"], "true or false"),
        ([SWA[0]], "callbacks.swa.swa_lrs is needed"),
        ([*SWA, "callbacks.swa.swa_lr=1"], "nearest: callbacks.swa.swa_lrs"),
        ([*SWA, "callbacks.swa.swa_lrs=0"], "must be more than 0"),
        ([*SWA, "callbacks.swa.say=print"], "unknown key callbacks.swa.say"),
        ([*SWA, "callbacks.swa.swa_epoch_start=9", "trainer.max_epochs=5"], "at most trainer.max_epochs=5"),
        ([*SWA, "callbacks.swa.swa_epoch_start=1.5"], "swa_epoch_start=1.5"),
        ([*SWA, "callbacks.ema.decay=0.9"], "averaged twice"),
        ([*SWA, "callbacks.early_stopping.patience=2"], "must reach its last epoch"),
        ([*SWA, "scheduler=plateau"], "use another schedule"),
        ([*SWA, "trainer.max_steps=9"], "must reach its last epoch"),
        ([*SWA, "trainer.check_val_every_n_epoch=2"], "must be 1"),
        ([*SWA, "trainer.precision=16-mixed"], "use bf16-mixed"),
    ],
)
def test_what_cannot_be_is_refused_by_name(lines: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(lines)
    assert words in str(caught.value)


def test_a_run_makes_what_was_named_and_ours_where_lightnings_needs_it() -> None:
    section = compose([*SWA, f"callbacks.mine._target_={MODULE}.DeviceStatsMonitor"]).callbacks.to_plain()
    assert section["mine"] == {"_target_": f"{MODULE}.DeviceStatsMonitor"}
    assert section["swa"] == {"_target_": "callbacks.swa.StochasticWeightAveraging", "swa_lrs": 0.01}


def test_naming_one_imports_nothing() -> None:
    code = f"import sys; from settings.reading.compose import compose as c; c({SWA!r}); "
    code += "sys.exit('lightning' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
