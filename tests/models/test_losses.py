import pytest
import torch
from torch import nn

from models.losses import choose_class_weights, classification_loss, is_weight, l1_penalty, l2_penalty
from settings.errors import UserError


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_torchs_on_indices_and_on_shares(smoothing):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 5, generator=generator)
    targets = torch.randint(5, (7,), generator=generator)
    torch_loss = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, targets)
    assert classification_loss(logits, targets, label_smoothing=smoothing).item() == pytest.approx(
        torch_loss.item(), rel=1e-6
    )
    shares = nn.functional.one_hot(targets, 5).double()
    assert classification_loss(logits, shares, label_smoothing=smoothing).item() == pytest.approx(
        torch_loss.item(), rel=1e-6
    )


def test_label_smoothing_by_hand():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    expected = -(0.8 * torch.log(torch.tensor(0.7)) + 0.1 * torch.log(torch.tensor(0.2 * 0.1)))
    assert classification_loss(logits, torch.tensor([0]), label_smoothing=0.3) == pytest.approx(expected.item())


def test_mixed_shares_weigh_the_two_losses():
    logits = torch.randn(6, 4)
    first, second = torch.randint(4, (2, 6))
    shares = 0.3 * nn.functional.one_hot(first, 4) + 0.7 * nn.functional.one_hot(second, 4)
    expected = 0.3 * classification_loss(logits, first) + 0.7 * classification_loss(logits, second)
    assert classification_loss(logits, shares).item() == pytest.approx(expected.item(), rel=1e-5)


def test_padding_counts_in_neither_sum_nor_mean():
    logits = torch.randn(5, 3, requires_grad=True)
    targets = torch.tensor([0, -1, 2, -1, 1])
    kept = targets >= 0
    expected = classification_loss(logits[kept], targets[kept])
    assert torch.equal(classification_loss(logits, targets), expected)
    nothing = classification_loss(logits, torch.full((5,), -1))
    nothing.backward()
    assert nothing.item() == 0 and torch.equal(logits.grad, torch.zeros(5, 3))


def test_half_precision_logits_are_summed_in_float32():
    logits = torch.randn(64, 10).bfloat16()
    loss = classification_loss(logits, torch.zeros(64, dtype=torch.int64))
    assert loss.dtype == torch.float32


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
    (classification_loss(net(images), targets) + 0.05 * l2_penalty(net)).backward()
    classification_loss(decayed(images), targets).backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    weights = [decayed.conv.weight, decayed.head.weight]
    others = [p for p in decayed.parameters() if all(p is not weight for weight in weights)]
    torch.optim.SGD([{"params": weights, "weight_decay": 0.05}, {"params": others}], lr=0.1, weight_decay=0).step()
    for ours, reference in zip(net.parameters(), decayed.parameters(), strict=True):
        torch.testing.assert_close(ours, reference)


def test_frozen_weights_are_not_penalised(net):
    net.conv.requires_grad_(False)
    assert l1_penalty(net).item() == pytest.approx(net.head.weight.abs().sum().item())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_loss_is_torchs_and_the_same_on_indices_and_shares(smoothing):
    generator = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(9, 4, generator=generator), torch.randint(4, (9,), generator=generator)
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0])
    expected = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(logits, targets).item()
    shares = nn.functional.one_hot(targets, 4).float()
    for given in (targets, shares):
        loss = classification_loss(logits, given, label_smoothing=smoothing, class_weights=weights)
        assert loss.item() == pytest.approx(expected, rel=1e-6)
    padded = torch.cat([targets, torch.tensor([-1, -1])]), torch.cat([logits, torch.randn(2, 4)])
    loss = classification_loss(padded[1], padded[0], label_smoothing=smoothing, class_weights=weights)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_weighted_loss_of_mixed_labels_by_hand():
    probs = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    log = probs.log()
    weighted = 3 * 0.25 * -log[0, 0] + 1 * 0.75 * -log[0, 1] + 3 * -log[1, 0]
    expected = weighted / (3 * 1.25 + 0.75)
    loss = classification_loss(log, shares, class_weights=torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_batch_of_no_weight_costs_nothing():
    loss = classification_loss(torch.randn(2, 3), torch.tensor([1, -1]), class_weights=torch.tensor([1.0, 0.0, 1.0]))
    assert loss.item() == 0


def test_balanced_weights_are_scikit_learns():
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    counts = [90, 9, 1, 25]
    labels = np.repeat(np.arange(4), counts)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert choose_class_weights("balanced", counts) == pytest.approx(expected.tolist())
    assert sum(w * n for w, n in zip(choose_class_weights("balanced", counts), counts, strict=True)) == 125
    assert choose_class_weights("balanced", [4, 0]) == [0.5, 0.0]
    assert choose_class_weights("none", counts) is None
    assert choose_class_weights([1, 2, 3, 4], counts) == [1.0, 2.0, 3.0, 4.0]


def test_one_weight_a_class_or_both_numbers():
    with pytest.raises(UserError, match=r"loss\.class_weights has 3 weights, and the data has 4 classes"):
        choose_class_weights([1, 2, 3], [1, 1, 1, 1])
