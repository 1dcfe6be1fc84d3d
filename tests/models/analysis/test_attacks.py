"""Attacks: closed form on a linear model, captum's attacks on a net, and what must not be touched."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from models.analysis.attacks import average_loss, fgsm, pgd
from models.predictor import Predictor
from settings.preprocessing import Preprocessing

EPS = 8 / 255


def grey(mean, std):
    return Preprocessing(image_size=8, resize=8, interpolation="bilinear", channels=1, mean=(mean,), std=(std,))


def images(count=12):
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (
        torch.from_numpy(digits.images[:count]).float()[:, None] / 16,
        torch.from_numpy(digits.target[:count]).long(),
    )


def loss(net):
    return lambda pixels, targets: cross_entropy(net(pixels), targets, reduction="none")


def conv_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10)).eval()


def linear_net():
    """Two classes whose logits differ by w x."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)).double()


def test_a_linear_model_has_a_closed_form():
    net, (pixels, digits) = linear_net(), images()
    pixels, targets = pixels.double() * 0.5 + 0.25, digits % 2  # away from 0 and 1
    weights = (net[1].weight[1] - net[1].weight[0]).view(1, 1, 8, 8)
    away = torch.where(targets == 1, -1.0, 1.0).double()[:, None, None, None]
    expected = pixels + EPS * away * weights.sign()
    assert torch.equal(fgsm(loss(net), pixels, targets, eps=EPS), expected)
    margin = lambda one: ((one * weights).sum((1, 2, 3)) * -away[:, 0, 0, 0]).detach()  # noqa: E731
    lost = margin(pixels) - margin(fgsm(loss(net), pixels, targets, eps=EPS))
    assert torch.allclose(lost, EPS * weights.abs().sum().detach().expand(12))
    start = (2 * torch.rand(pixels.shape, dtype=torch.float64) - 1) * EPS
    found = pgd(loss(net), pixels, targets, eps=EPS, steps=10, step_size=EPS / 4, start=start)
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")  # captum's, of itself
@pytest.mark.parametrize("eps", [2 / 255, 0.3])
def test_the_same_as_captum(eps):
    from captum.robust import FGSM, PGD

    net, (pixels, targets) = conv_net(), images()
    summed = nn.CrossEntropyLoss(reduction="none")
    theirs = FGSM(net, summed, lower_bound=0, upper_bound=1).perturb(pixels, epsilon=eps, target=targets)
    assert torch.equal(fgsm(loss(net), pixels, targets, eps=eps), theirs)
    theirs = PGD(net, summed, lower_bound=0, upper_bound=1).perturb(
        pixels, radius=eps, step_size=eps / 3, step_num=7, target=targets
    )
    ours = pgd(loss(net), pixels, targets, eps=eps, steps=7, step_size=eps / 3)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_ball_and_the_range_are_kept_and_nothing_else_is_touched():
    net, (pixels, targets) = conv_net(), images()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start = torch.full_like(pixels, 5.0)  # is cut to the ball
    found = pgd(loss(net), pixels, targets, eps=EPS, steps=3, step_size=EPS, start=start)
    assert (found - pixels).abs().max() <= EPS + 1e-7 and found.min() >= 0 and found.max() <= 1
    assert loss(net)(found, targets).mean() > loss(net)(pixels, targets).mean()
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(fgsm(loss(net), pixels, targets, eps=0.0), pixels)
    with torch.no_grad():
        assert torch.equal(fgsm(loss(net), pixels, targets, eps=EPS), fgsm(loss(net), pixels, targets, eps=EPS))


def test_the_loss_of_an_ensemble_is_that_of_its_mean_probability():
    torch.manual_seed(3)
    nets = [conv_net(), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))]
    members = [Predictor(net=net, preprocessing=grey(0.3, 0.4)) for net in nets]
    pixels, targets = images()
    probs = torch.stack([member(pixels) for member in members]).mean(dim=0)
    expected = -probs.gather(1, targets[:, None])[:, 0].log()
    assert torch.allclose(average_loss(members)(pixels, targets), expected)
    attacked = fgsm(average_loss(members), pixels, targets, eps=EPS)
    assert average_loss(members)(attacked, targets).sum() > average_loss(members)(pixels, targets).sum()


def test_a_very_sure_net_still_has_a_gradient():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([torch.full((64,), 2.0), torch.full((64,), -2.0)]))
    member = Predictor(net=net, preprocessing=grey(0.0, 1.0))
    pixels, targets = torch.full((1, 1, 8, 8), 0.15), torch.tensor([0])  # logits 19.2 and -19.2
    assert member.logits(pixels).softmax(dim=1)[0, 0] == 1
    assert torch.allclose(fgsm(average_loss([member]), pixels, targets, eps=EPS), pixels - EPS)
