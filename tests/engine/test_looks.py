"""What a look recommends to type."""

import pytest

from explore import explore
from settings.schema import names


def test_training_with_a_file_that_cannot_be_read_is_not_recommended(tmp_path, capsys):
    (tmp_path / "x.pth").write_text("no tensors")
    line = ["do=data", "data.per_class=4", "model=mlp", "transfer=full", f"model.weights={tmp_path / 'x.pth'}"]
    explore(*line, f"output={tmp_path / 'x.json'}")
    said = capsys.readouterr().out
    (typed,) = [part for part in said.splitlines() if "python train.py" in part]
    assert typed.startswith(f"without {tmp_path / 'x.pth'}, type: python train.py")
    assert "model.weights" not in typed.partition("type:")[2] and "transfer=" not in typed
    assert "not compared: cannot read the weights" in said


@pytest.mark.parametrize("name", ["lenet5", "block"])
def test_a_net_that_is_half_registered_is_told_where_to_register_it(name, monkeypatch):
    monkeypatch.setattr(names, "nets", dict)
    registered = names.is_net_file(name)
    assert ("a row in NETS of models/nets/__init__.py" in names.unknown_net(name, source="own")) == registered
    assert registered == (name == "lenet5")
