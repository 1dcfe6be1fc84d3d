import numpy as np
import pytest
from lightning import Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from matplotlib.figure import Figure
from PIL import Image

from callbacks.loggers.tensorboard_logger import TensorboardLogger
from engine.run_folder import RunRecord
from reports.figures import record_figure

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


class Gallery(DummyLogger):
    def __init__(self):
        super().__init__()
        self.shown = []

    def log_picture(self, name, path, *, step):
        self.shown.append((name, path, step))


def red(side=0.5):
    figure = Figure(figsize=(side, side), facecolor="white")
    figure.add_axes((0, 0, 1, 1)).set_axis_off()
    figure.axes[0].imshow([[[255, 0, 0]]])
    return figure


def read(folder):
    found = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    return found.Reload()


def test_a_picture_goes_to_the_folder_and_to_the_loggers_that_take_pictures(tmp_path):
    gallery, record = Gallery(), RunRecord(tmp_path, {"steps": 7})
    record.loggers = [DummyLogger(), gallery]
    path = record_figure(record, "a_red-square", red())
    assert path == tmp_path / "figures" / "a_red-square.png"
    with Image.open(path) as image:
        assert image.size == (72, 72) and image.convert("RGB").getpixel((36, 36)) == (255, 0, 0)
    assert gallery.shown == [("a_red-square", path, 7)]
    assert [file.name for file in path.parent.iterdir()] == ["a_red-square.png"], "no temporary file stays"


def test_a_trainer_is_as_good_as_a_record(tmp_path):
    gallery = Gallery()
    trainer = Trainer(default_root_dir=tmp_path, logger=gallery, accelerator="cpu", enable_checkpointing=False)
    path = record_figure(trainer, "red", red())
    assert path == tmp_path / "figures" / "red.png" and path.is_file()
    assert gallery.shown == [("red", path, 0)]


@pytest.mark.parametrize("name", ["", "../red", "a/b", "a b", "red.png", "__"])
def test_a_name_that_is_no_plain_file_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="file's"):
        record_figure(RunRecord(tmp_path, {}), name, red())


def test_tensorboard_reads_back_metrics_configuration_and_pictures(tmp_path):
    folder = tmp_path / "a run, $HOME [é]" / "tensorboard"
    config = {"seed": 3, "data": {"root": "~/a b"}}
    log = TensorboardLogger(run_folder=folder.parent, config=config)
    record = RunRecord(tmp_path, {"steps": 2})
    record.loggers = [log]
    for step in (1, 2):
        log.log_metrics({"val/loss": 1.0 / step, "epoch": float(step)}, step=step)
    path = record_figure(record, "red", red())
    log.finalize("success")

    found = read(folder)
    assert [(event.step, event.value) for event in found.Scalars("val/loss")] == [(1, 1.0), (2, 0.5)]
    (event,) = found.Images("figures/red")
    (tmp_path / "back.png").write_bytes(event.encoded_image_string)
    with Image.open(tmp_path / "back.png") as back, Image.open(path) as drawn:
        assert np.array_equal(np.asarray(back), np.asarray(drawn.convert("RGB"))) and event.step == 2
    (text,) = found.Tensors("config/text_summary")
    assert "root: ~/a b" in text.tensor_proto.string_val[0].decode()


def test_images_false_keeps_pictures_from_tensorboard_and_not_from_the_folder(tmp_path):
    log = TensorboardLogger(run_folder=tmp_path, config={}, images=False)
    record = RunRecord(tmp_path, {})
    record.loggers = [log]
    log.log_metrics({"val/loss": 1.0}, step=1)
    assert record_figure(record, "red", red()).is_file()
    log.finalize("success")
    assert read(tmp_path / "tensorboard").Tags()["images"] == []


def test_no_step_stands_twice_in_tensorboard_after_a_resume(tmp_path):
    first = TensorboardLogger(run_folder=tmp_path, config={})
    for step in range(1, 6):
        first.log_metrics({"loss": float(step)}, step=step)
    first.finalize("failed")
    again = TensorboardLogger(run_folder=tmp_path, config={}, keep_until=3)
    for step in range(4, 8):
        again.log_metrics({"loss": 10.0 * step}, step=step)
    again.finalize("success")
    found = [(event.step, event.value) for event in read(tmp_path / "tensorboard").Scalars("loss")]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0), (6, 60.0), (7, 70.0)]
