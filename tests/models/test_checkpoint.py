"""What is said of a file that cannot be read: never torch's advice to run what is in it."""

import pickle

import pytest
import torch

from models.checkpoint import read_checkpoint
from settings.errors import UserError


class Own:
    """Something that is no tensor."""


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"a": Own()}),
        pickle.dumps({"a": 1}, protocol=5) + b"rest",
        b"not a pickle at all",
        b"\x80\x05",
        b"",
        b"<html>404</html>",
    ],
)
def test_no_advice_to_run_the_file(content, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError) as wrong:
        read_checkpoint(tmp_path / "x.pth")
    assert "weights_only" not in str(wrong.value) and "execution" not in str(wrong.value)


def test_an_object_in_a_whole_file_is_named(tmp_path):
    torch.save({"a": Own()}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"it holds an object of \S*Own besides tensors"):
        read_checkpoint(tmp_path / "x.pth")
