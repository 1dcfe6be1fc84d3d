"""Each activation against torch's own functions, and the way back."""

import pytest
import torch

from models.activations import activation, activation_files
from models.tasks import task_files
from settings.errors import UserError
from settings.schema.names import task_value


@pytest.mark.parametrize("name", activation_files())
def test_the_way_back_gives_outputs_with_the_same_predictions(name):
    found = activation(name)
    outputs = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reference = {"softmax": lambda x: x.softmax(1), "sigmoid": torch.special.expit, "identity": lambda x: x}[name]
    predictions = found.predictions(outputs)
    assert torch.equal(predictions, reference(outputs))
    assert torch.allclose(found.predictions(found.outputs(predictions)), predictions, rtol=1e-12)


def test_every_task_has_one_and_an_unknown_one_is_told():
    assert {task_value(name, "activation") for name in task_files()} <= set(activation_files())
    with pytest.raises(UserError, match="nearest: sigmoid"):
        activation("sigmoyd")
