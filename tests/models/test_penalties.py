import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from models.penalties import is_weight, l1_penalty, l2_penalty


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.batch_norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm((4, 6, 6))
        self.head = nn.Linear(4, 10)

    def forward(self, images):  # (B, 1, 8, 8) -> (B, 10)
        return self.head(self.layer_norm(self.batch_norm(self.conv(images))).mean(dim=(2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def test_only_weights_are_penalised(net):
    shrinkable = {name for name, parameter in net.named_parameters() if is_weight(name, parameter)}
    assert shrinkable == {"conv.weight", "head.weight"}
    assert not is_weight("blocks.0.attn.relative_position_bias_table", torch.zeros(49, 3))
    assert is_weight("column.0.weight", torch.zeros(4, 4))


def test_penalties_are_their_closed_forms(net):
    weights = torch.cat([net.conv.weight.flatten(), net.head.weight.flatten()])
    assert l1_penalty(net).item() == pytest.approx(torch.linalg.vector_norm(weights, ord=1).item(), rel=1e-6)
    assert l2_penalty(net).item() == pytest.approx(0.5 * weights.dot(weights).item(), rel=1e-6)


def test_elastic_net_gradient_is_sign_plus_weight(net):
    (0.01 * l1_penalty(net) + 0.1 * l2_penalty(net)).backward()
    for name, parameter in net.named_parameters():
        if is_weight(name, parameter):
            torch.testing.assert_close(parameter.grad, 0.01 * parameter.sign() + 0.1 * parameter)
        else:
            assert parameter.grad is None


def test_l2_penalty_is_weight_decay_under_sgd(net):
    decayed = Net()
    decayed.load_state_dict(net.state_dict())
    images, targets = torch.randn(8, 1, 8, 8), torch.randint(10, (8,))
    (cross_entropy(net(images), targets) + 0.05 * l2_penalty(net)).backward()
    cross_entropy(decayed(images), targets).backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    weights = [decayed.conv.weight, decayed.head.weight]
    others = [p for p in decayed.parameters() if all(p is not weight for weight in weights)]
    torch.optim.SGD([{"params": weights, "weight_decay": 0.05}, {"params": others}], lr=0.1, weight_decay=0).step()
    for ours, reference in zip(net.parameters(), decayed.parameters(), strict=True):
        torch.testing.assert_close(ours, reference)


def test_frozen_weights_are_not_penalised(net):
    net.conv.requires_grad_(False)
    assert l1_penalty(net).item() == pytest.approx(net.head.weight.abs().sum().item())
