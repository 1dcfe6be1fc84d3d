import os
import re
import threading
import time
from contextlib import contextmanager

import pytest
import torch
from lightning import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from callbacks.progress import Progress, fitting
from callbacks.throughput import Throughput


class Digits(LightningModule):
    """Softmax regression that reports as our tasks do: at the end of the epoch, in its own hook."""

    metrics = {"accuracy": "max", "loss": "min"}
    monitor = "val/accuracy"

    def __init__(self, *, fail_at=None, seconds=0.0):
        super().__init__()
        self.layer, self.fail_at, self.seconds = torch.nn.Linear(64, 10), fail_at, seconds
        self.reported = []

    def training_step(self, batch, batch_idx):
        if self.trainer.global_step == self.fail_at:
            raise RuntimeError("the disk is full")
        time.sleep(self.seconds)
        return cross_entropy(self.layer(batch[0]), batch[1])

    def on_train_epoch_end(self):
        self.log_dict({"train/loss": 1.0 + self.current_epoch}, logger=False)

    def validation_step(self, batch, batch_idx):
        pass

    def on_validation_epoch_end(self):
        self.log_dict(
            {"val/loss": 0.5 + self.current_epoch, "val/accuracy": 0.25 * (1 + self.current_epoch)},
            logger=False,
        )

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(tmp_path, task, progress, *, ckpt_path=None, **arguments):
    images, labels = (torch.as_tensor(part[:200]) for part in load_digits(return_X_y=True))
    data = TensorDataset(images.float() / 16, labels)
    trainer = Trainer(
        **{"max_epochs": 3, "accelerator": "cpu", **arguments},
        logger=False,
        callbacks=[Throughput(), progress],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, DataLoader(data, batch_size=20), DataLoader(data, batch_size=100), ckpt_path=ckpt_path)
    return trainer


def epoch_lines(text):
    return [line for line in text.splitlines() if line.startswith("epoch")]


def test_an_epoch_without_validation_shows_none(tmp_path, capsys):
    fit(tmp_path, Digits(), Progress(), max_epochs=4, check_val_every_n_epoch=2)
    shown = ["val/" in line for line in epoch_lines(capsys.readouterr().out)]
    assert shown == [False, True, False, True]


def test_one_plain_line_an_epoch_with_that_epochs_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    fit(tmp_path, Digits(), Progress())
    text = capsys.readouterr().out
    assert "\x1b" not in text and "\r" not in text
    lines = epoch_lines(text)
    assert len(lines) == 3
    for number, line in enumerate(lines):
        assert re.fullmatch(
            rf"epoch {number + 1}/3  train/loss {number + 1}\.0000  val/loss {number}\.5000  "
            rf"val/accuracy 0\.{25 * (number + 1)}00  lr 0\.01  \d+ images/s  0:0\d left",
            line,
        ), line
    assert lines[-1].endswith("0:00 left")


def test_a_window_of_80_columns_holds_the_line(tmp_path, capsys, monkeypatch):
    whole = "epoch 20/20  train/loss 0.0008  val/loss 0.0333  val/accuracy 0.9931"
    more = ("  lr 1e-06", "  2900 images/s", "  1.2 GB", "  0:00 left")
    assert fitting(whole, more, 80) == f"{whole}  0:00 left" and len(fitting(whole, more, 80)) <= 80
    assert fitting(whole, more, 120) == whole + "".join(more) and fitting(whole, more, 20) == whole
    monkeypatch.setattr("callbacks.progress.window_width", lambda: 80)
    fit(tmp_path, Digits(), Progress())
    lines = epoch_lines(capsys.readouterr().out)
    assert len(lines) == 3 and max(map(len, lines)) <= 80 and all(line.endswith(" left") for line in lines)


def test_lines_without_validation_and_with_a_step_limit(tmp_path, capsys):
    fit(tmp_path, Digits(), Progress(), limit_val_batches=0, max_epochs=-1, max_steps=15)
    lines = epoch_lines(capsys.readouterr().out)
    assert [line.split("  ")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert all("val/" not in line for line in lines) and lines[-1].endswith("0:00 left")


def test_images_a_second_and_time_left_are_true(tmp_path, capsys):
    # 10 batches of 20 images an epoch at 0.02 s each: 1,000 images/s; after 1 of 31 epochs 6 s are left.
    task = Digits(seconds=0.02)
    fit(tmp_path, task, Progress(), max_epochs=31, max_time={"seconds": 0.3})
    first = epoch_lines(capsys.readouterr().out)[0]
    speed = int(re.search(r"(\d+) images/s", first)[1])
    minutes, seconds = map(int, re.search(r"(\d+):(\d\d) left", first).groups())
    assert 200 < speed < 1000
    assert 6 <= 60 * minutes + seconds < 40


def test_time_left_after_a_resume_counts_only_this_session(tmp_path, capsys):
    trainer = fit(tmp_path, Digits(), Progress(), max_epochs=2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    capsys.readouterr()
    fit(tmp_path, Digits(seconds=0.02), Progress(), ckpt_path=tmp_path / "two.ckpt", max_epochs=12)
    lines = epoch_lines(capsys.readouterr().out)
    assert [line.split("  ")[0] for line in lines] == [f"epoch {k}/12" for k in range(3, 13)]
    minutes, seconds = map(int, re.search(r"(\d+):(\d\d) left", lines[0]).groups())
    assert 60 * minutes + seconds >= 2  # nine epochs of 0.2 s; counting the earlier ones too gives a third


def test_nothing_is_read_from_the_device_within_an_epoch(tmp_path, monkeypatch):
    class Watched(Digits):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            reads.append(0)
            return loss

    reads = []
    for name in ("item", "__float__", "tolist"):
        original = getattr(torch.Tensor, name)

        def counted(tensor, *args, original=original):
            if tensor.requires_grad is False and tensor.ndim == 0 and reads:
                reads[-1] += 1
            return original(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    fit(tmp_path, Watched(), Progress(terminal=False), max_epochs=1)
    assert len(reads) == 10 and sum(reads[:-1]) == 0


@contextmanager
def terminal(kind="xterm-256color", columns=160):
    """Standard output is a real pseudo-terminal; what was written to it is in the list, once it is closed."""
    leader, follower = os.openpty()
    screen, chunks = [], []

    def drain():  # a terminal that nobody reads blocks its writer after 4 KB
        try:
            while chunk := os.read(leader, 65536):
                chunks.append(chunk)
        except OSError:  # the other end was closed
            pass

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    with pytest.MonkeyPatch.context() as patch, os.fdopen(follower, "w") as stream:
        patch.setattr("sys.stdout", stream)
        patch.setenv("TERM", kind)
        patch.setenv("COLUMNS", str(columns))
        yield screen
    reader.join(10)
    os.close(leader)
    screen.append(b"".join(chunks).decode())


SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


def test_a_terminal_gets_a_bar_over_the_whole_run(tmp_path):
    with terminal() as screen:
        fit(tmp_path, Digits(), Progress(refresh_steps=5))
    text = screen[0]
    counts = [int(done) for done in re.findall(r"(\d+)/30", text)]
    assert counts[0] == 0 and counts[-1] == 30 and sorted(counts) == counts
    assert {5, 10, 15, 20, 25, 30} <= set(counts) and 7 not in counts
    assert re.search(r"epoch 2/3  loss \d\.\d{4}  val/loss 0\.5000  val/accuracy 0\.2500", text)
    assert re.search(r"0:0\d left", text)
    assert text.count("train/loss") == 3
    assert text.count(HIDE_CURSOR) == text.count(SHOW_CURSOR) == 1


def test_a_bar_in_80_columns_stays_on_its_line_and_is_not_red(tmp_path):
    with terminal(columns=80) as screen:
        fit(tmp_path, Digits(), Progress(refresh_steps=5))
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen[0]).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= 80 and "38;5;197" not in screen[0] and "249;38;114" not in screen[0]
    assert "\x1b[2A" not in screen[0] and screen[0].count("train/loss") == 3


def test_the_bar_closes_on_an_exception(tmp_path):
    progress = Progress()
    with terminal() as screen, pytest.raises(RuntimeError, match="disk is full"):
        fit(tmp_path, Digits(fail_at=13), progress)
    assert screen[0].count(HIDE_CURSOR) == screen[0].count(SHOW_CURSOR) == 1
    assert progress._bar is None and "epoch 1/3" in screen[0]


def test_a_dumb_terminal_gets_lines(tmp_path):
    with terminal("dumb") as screen:
        fit(tmp_path, Digits(), Progress(), max_epochs=1)
    assert "\x1b" not in screen[0] and len(epoch_lines(screen[0])) == 1


def test_a_slow_net_moves_the_bar_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("callbacks.progress.LONGEST_PAUSE", 0.05)
    with terminal() as screen:
        fit(tmp_path, Digits(seconds=0.03), Progress(refresh_steps=1000), max_epochs=1)
    assert len(re.findall(r"\d+/10\D", screen[0])) >= 4
