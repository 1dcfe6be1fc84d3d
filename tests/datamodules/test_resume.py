"""A fit that goes on from a checkpoint sees, bit for bit, the batches that an undisturbed one sees."""

import hashlib
import warnings

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from datamodules.digits import Digits

RECIPE = {
    "random_crop": {"padding": 0.125},
    "vertical_flip": {"p": 0.5},
    "randaugment": {},
    "cutout": {},
    "mixup": {"p": 0.5},
    "cutmix": {"p": 0.5},
}
EPOCHS, BATCHES = 3, 10  # 1,293 training images in batches of 128


def digest(tensor):
    return hashlib.blake2b(tensor.contiguous().numpy().tobytes(), digest_size=8).hexdigest()


class Recorder(lightning.LightningModule):
    """Note the hash of what arrives from the loader, after the device step, and of the dropout mask."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)
        self.seen = []

    def training_step(self, batch, batch_idx):
        images, targets = batch
        mask = torch.nn.functional.dropout(torch.ones_like(images), 0.5)
        self.seen.append((self.current_epoch, batch_idx, digest(images), digest(targets), digest(mask)))
        return torch.nn.functional.cross_entropy(self.layer((images * mask).flatten(1)), targets)

    def validation_step(self, batch, batch_idx):
        torch.rand(5)  # disturbs the global generator

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class RecordingDigits(Digits):
    def train_dataloader(self):
        self.first_position = self._trainer_position()  # as a loader with workers would ask for it
        return super().train_dataloader()

    def on_after_batch_transfer(self, batch, dataloader_idx):
        if self.trainer.training:
            self.raw.append(digest(batch[0]))
        return super().on_after_batch_transfer(batch, dataloader_idx)


class Stop(Callback):
    """Save at some batch's end, and go no further."""

    def __init__(self, path, *, epoch, batch, hook):
        self.path, self.place, self.hook = path, (epoch, batch), hook

    def save(self, trainer, hook, batch_idx):
        if hook == self.hook and (trainer.current_epoch, batch_idx) == self.place:
            trainer.save_checkpoint(self.path)
            raise KeyError("stopped here")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.save(trainer, "batch", batch_idx)

    def on_train_epoch_end(self, trainer, module):
        self.save(trainer, "epoch", None)

    def on_validation_end(self, trainer, module):
        self.save(trainer, "validation", None)


def fit(tmp_path, *, stop=None, ckpt_path=None, accumulation=1, disturb=0, limit=None, num_workers=0):
    torch.manual_seed(disturb)
    data = RecordingDigits()
    data.raw = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.configure(batch_size=128, recipe=RECIPE, balance="oversample", num_workers=num_workers)
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=disturb,
            accumulate_grad_batches=accumulation,
            limit_train_batches=limit,
            callbacks=[stop] if stop else [],
            default_root_dir=tmp_path,
        )
        module = Recorder()
        try:
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        except KeyError:
            assert stop is not None
    if ckpt_path and module.seen:
        assert data.first_position == module.seen[0][:2]
    return [(*seen, raw) for seen, raw in zip(module.seen, data.raw, strict=True)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("undisturbed"))


def test_an_undisturbed_fit_never_sees_a_batch_twice(undisturbed):
    assert [seen[:2] for seen in undisturbed] == [(e, b) for e in range(EPOCHS) for b in range(BATCHES)]
    for column in range(2, 6):
        assert len({seen[column] for seen in undisturbed}) == EPOCHS * BATCHES


def test_what_ran_before_makes_no_difference(tmp_path, undisturbed):
    assert fit(tmp_path, disturb=2) == undisturbed


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("epoch", "batch", "hook", "done"),
    [
        (0, 0, "batch", 1),
        (0, 4, "batch", 5),
        (1, 6, "batch", 17),
        (2, 8, "batch", 29),
        (0, 9, "batch", 10),  # an epoch's last batch: Lightning's counters are in between
        (1, 9, "batch", 20),
        (0, None, "epoch", 10),
        (1, None, "epoch", 20),
        (1, None, "validation", 20),
    ],
)
def test_a_resumed_fit_sees_exactly_the_rest(tmp_path, undisturbed, epoch, batch, hook, done, num_workers):
    path = tmp_path / "some.ckpt"
    before = fit(tmp_path, stop=Stop(path, epoch=epoch, batch=batch, hook=hook), num_workers=num_workers)
    after = fit(tmp_path, ckpt_path=path, disturb=1, num_workers=num_workers)
    assert before == undisturbed[:done]
    assert after == undisturbed[done:]


def test_inside_accumulation_each_batch_has_its_own_draws(tmp_path):
    whole = fit(tmp_path, accumulation=2)
    assert len({seen[4] for seen in whole}) == len(whole) == EPOCHS * BATCHES * 2
    path = tmp_path / "some.ckpt"
    before = fit(tmp_path, accumulation=2, stop=Stop(path, epoch=1, batch=7, hook="batch"))
    assert before + fit(tmp_path, accumulation=2, ckpt_path=path) == whole


def test_with_limited_batches_too(tmp_path):
    whole = fit(tmp_path, limit=4)
    assert len(whole) == EPOCHS * 4
    for place in ({"epoch": 1, "batch": 1, "hook": "batch"}, {"epoch": 1, "batch": None, "hook": "epoch"}):
        path = tmp_path / f"{place['hook']}.ckpt"
        before = fit(tmp_path, limit=4, stop=Stop(path, **place))
        assert before + fit(tmp_path, limit=4, ckpt_path=path) == whole


def test_another_seed_sees_other_batches(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr(
        RecordingDigits,
        "configure",
        lambda self, **settings: Digits.configure(self, **{"seed": 1} | settings),
    )
    other = fit(tmp_path, limit=4)
    assert not {seen[5] for seen in other} & {seen[5] for seen in undisturbed}
    assert not {seen[4] for seen in other} & {seen[4] for seen in undisturbed}
