"""Maps of where a net looks: against captum, closed forms of linear nets, and identities."""

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
from torch import nn

from models.analysis.attention import attentions, rollout, token_map
from models.analysis.cam import cam
from models.analysis.grad_cam import grad_cam
from models.analysis.grad_cam_pp import grad_cam_pp
from models.analysis.grid import Grid, grids, last_grid, stage_grids
from models.analysis.integrated_gradients import integrated_gradients
from models.analysis.occlusion import occlusion
from models.analysis.wanted_score import wanted_score
from models.build import build_net
from settings.errors import UserError
from tests.models.analysis.nets import images, small_net

LARGE = ("torchvision densenet", "timm convnext")
WANTED = torch.tensor([1, 3])
LAYERS = {  # the last with places on which the outputs depend
    "resnet20": ("stage3", "map", 8),
    "lenet5": ("pool", "map", 5),
    "cnn": ("blocks", "map", 2),
    "googlenet": ("inception4e", "map", 2),
    "torchvision vit": ("encoder.layers.encoder_layer_1", "tokens", 4),
    "torchvision swin": ("permute", "map", 8),
    "torchvision densenet": ("features", "map", 2),
    "timm vit": ("blocks.1", "tokens", 4),
    "timm vit average": ("norm", "tokens", 4),
    "timm swin": ("norm", "channels_last", 8),
    "timm convnext": ("norm_pre", "map", 2),
}


def pictures(name: str) -> torch.Tensor:
    return images(size=64 if name in LARGE else 32)


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_is_found_in_every_family(name):
    net, shown = small_net(name), pictures(name)
    grid = last_grid(net, shown, name=name)
    assert (grid.module, grid.layout, grid.height) == LAYERS[name] and grid.width == grid.height
    for maps in (grad_cam(net, grid, shown, WANTED), grad_cam_pp(net, grid, shown, WANTED)):
        assert maps.shape == (2, grid.height, grid.width) and maps.isfinite().all() and (maps >= 0).all()
    assert grad_cam(net, grid, shown, WANTED, relu=False).abs().sum() > 0


def test_stages_have_a_grid_each_and_a_layer_can_be_named():
    net, shown = small_net("resnet20"), images()
    found = stage_grids(net, shown)
    assert {name: grid.height for name, grid in found.items()} == {"stem": 32, "stage1": 32, "stage2": 16, "stage3": 8}
    assert last_grid(net, shown, name="resnet20", layer="stage2").height == 16
    with pytest.raises(UserError, match="layer=stage9: is no module of resnet20; nearest: stage"):
        last_grid(net, shown, name="resnet20", layer="stage9")
    with pytest.raises(UserError, match="layer=head: has no places"):
        last_grid(net, shown, name="resnet20", layer="head")
    with pytest.raises(UserError, match="mlp has no feature map with places"):
        last_grid(small_net("mlp"), shown, name="mlp")


def test_a_segmentation_is_read_where_it_is_coarsest():
    net = build_net(name="unet_small", arguments={}, num_classes=5, in_channels=3, image_size=32).eval()
    grid = last_grid(net, images(), name="unet_small")
    assert grid.module == "encoder.2" and grid.height == min(one.height for one in grids(net, images()))
    wanted = torch.zeros(2, 5, 32, 32)
    wanted[:, 2, :16] = 1 / 512
    outputs = net(images()).detach()
    assert torch.allclose(wanted_score(outputs, wanted), outputs[:, 2, :16].mean(dim=(1, 2)), atol=1e-6)
    assert grad_cam(net, grid, images(), wanted, relu=False).abs().sum() > 0


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", ["resnet20", "cnn"])
def test_grad_cam_is_captums(name, relu):
    net, shown = small_net(name), images()
    grid = last_grid(net, shown, name=name)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # captum's hooks want it so
    theirs = LayerGradCam(net, net.get_submodule(grid.module)).attribute(shown, WANTED, relu_attributions=relu)
    assert torch.allclose(grad_cam(net, grid, shown, WANTED, relu=relu), theirs[:, 0], rtol=1e-5, atol=1e-9)


def test_tokens_are_weighed_as_a_map_is():
    net, shown = small_net("torchvision vit"), images()
    grid = last_grid(net, shown, name="vit")
    tokens = net.encoder.layers[:2](
        net.encoder.dropout(
            torch.cat((net.class_token.expand(2, -1, -1), net._process_input(shown)), 1) + net.encoder.pos_embedding
        )
    ).detach()
    tokens.requires_grad_()
    logits = net.heads(net.encoder.ln(net.encoder.layers[2](tokens))[:, 0])
    (gradient,) = torch.autograd.grad(logits.gather(1, WANTED[:, None]).sum(), tokens)
    by_hand = (gradient[:, 1:].mean(dim=1, keepdim=True) * tokens[:, 1:]).sum(dim=2).view(2, 4, 4)
    assert torch.allclose(grad_cam(net, grid, shown, WANTED, relu=False), by_hand, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["resnet20", "googlenet", "torchvision densenet"])
def test_cam_has_the_logit_as_its_mean_and_is_grad_cam_times_the_places(name):
    net, shown = small_net(name), images(size=64)
    grid = last_grid(net, shown, name=name)
    maps = cam(net, grid, shown, WANTED, name=name)
    head = [one for one in net.modules() if isinstance(one, nn.Linear)][-1]
    logits = net(shown).gather(1, WANTED[:, None])[:, 0]
    assert torch.allclose(maps.mean(dim=(1, 2)) + head.bias[WANTED], logits, rtol=1e-4, atol=1e-5)
    if name != "torchvision densenet":  # whose last ReLU is no module: Grad-CAM reads the map before it
        grad = grad_cam(net, grid, shown, WANTED, relu=False) * grid.height * grid.width
        assert torch.allclose(maps, grad, rtol=1e-4, atol=1e-5)


def test_cam_is_refused_where_the_head_is_another_one():
    for name in ("lenet5", "torchvision vit"):
        net = small_net(name)
        with pytest.raises(UserError, match=f"cam: {name} does not end in an average and one linear layer"):
            cam(net, last_grid(net, images(), name=name), images(), WANTED, name=name)


class Bumps(nn.Module):
    """A map of one convolution, averaged, and a linear head: all derivatives of exp(score) are known."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, stride=4), nn.Linear(4 * 64, 5)

    def forward(self, images):
        return self.head(self.conv(images).relu().flatten(1))


def test_grad_cam_pp_is_the_papers_formula_with_third_derivatives_of_the_exponential():
    torch.manual_seed(3)
    net, shown = Bumps().double().eval(), images().double()
    grid = Grid(module="conv", layout="map", height=8, width=8)
    ours = grad_cam_pp(net, grid, shown, WANTED)
    for index in range(2):
        features = net.conv(shown[index : index + 1]).detach().requires_grad_()
        score = net.head(features.relu().flatten(1))[0, WANTED[index]].exp()
        (first,) = torch.autograd.grad(score, features, create_graph=True)
        second, third = torch.zeros_like(first), torch.zeros_like(first)
        for place in first.detach().nonzero().tolist():
            (row,) = torch.autograd.grad(first[tuple(place)], features, create_graph=True)
            second[tuple(place)] = row[tuple(place)].detach()
            (row,) = torch.autograd.grad(row[tuple(place)], features, retain_graph=True)
            third[tuple(place)] = row[tuple(place)].detach()
        under = 2 * second + features.sum(dim=(2, 3), keepdim=True) * third
        shares = torch.where(under != 0, second / under, 0.0)
        weights = (shares * (first / score).relu()).sum(dim=(2, 3), keepdim=True)
        by_hand = (weights * features).sum(dim=1).relu()[0]
        assert by_hand.sum() > 0
        assert torch.allclose(ours[index], by_hand.float(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("window", "stride"), [(8, 4), (7, 5), (6, 2), (32, 32)])
def test_occlusion_is_captums(window, stride):
    net, shown = small_net("lenet5"), images()
    ours = occlusion(net, shown, WANTED, window=window, stride=stride, batch_size=7)
    theirs = Occlusion(net).attribute(
        shown, (3, window, window), strides=(3, stride, stride), target=WANTED, baselines=0
    )
    assert torch.allclose(ours, theirs[:, 0].float(), rtol=1e-5, atol=1e-6)


def test_occlusion_of_a_linear_net_is_the_sum_that_is_covered():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)).eval()
    shown = images(1, size=16)
    parts = (net[1].weight[1].view(3, 16, 16) * shown[0]).sum(dim=0)
    sums = nn.functional.avg_pool2d(parts[None], 4) * 16
    found = occlusion(net, shown, torch.tensor([1]), window=4, stride=4)
    assert torch.allclose(found, sums.repeat_interleave(4, 1).repeat_interleave(4, 2), atol=1e-5)
    apart = occlusion(net, shown, torch.tensor([1]), window=2, stride=4)
    assert (apart[0, 2:4] == 0).all() and (apart[0, 4:6, 4:6] != 0).all(), "what no window covers has none"


def test_integrated_gradients_are_captums_and_complete():
    net, shown = small_net("lenet5").double(), images().double()
    for baseline in (0.0, -1.5):
        ours = integrated_gradients(net, shown, WANTED, steps=50, baseline=baseline)
        theirs = IntegratedGradients(net).attribute(shown, target=WANTED, baselines=baseline, n_steps=50)
        assert torch.allclose(ours, theirs.float(), rtol=1e-5, atol=1e-9)
    start = torch.full_like(shown, -1.5)
    gain = wanted_score(net(shown), WANTED) - wanted_score(net(start), WANTED)
    whole = integrated_gradients(net, shown, WANTED, steps=300, baseline=start).sum(dim=(1, 2, 3))
    assert whole.tolist() == pytest.approx(gain.tolist(), rel=2e-3)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)).eval()
    exact = linear[1].weight[WANTED].view(2, 3, 32, 32) * images()
    assert torch.allclose(integrated_gradients(linear, images(), WANTED, steps=3), exact, atol=1e-6)


@pytest.mark.parametrize("name", ["torchvision vit", "timm vit"])
def test_attention_is_read_and_rolled_out(name):
    net, shown = small_net(name), images()
    fused = [one.fused_attn for one in net.modules() if hasattr(one, "fused_attn")]
    before = net(shown)
    matrices = attentions(net, shown, name=name)
    assert len(matrices) == 3 and matrices[0].shape[-2:] == (17, 17)
    for matrix in matrices:
        assert torch.allclose(matrix.sum(dim=-1), torch.ones(()), atol=1e-5)
    rows = rollout(matrices)
    assert torch.allclose(rows.sum(dim=-1), torch.ones(2, 17), atol=1e-5)
    mixed = [(one.mean(dim=1) + torch.eye(17)) / 2 for one in matrices]
    assert torch.allclose(rows, mixed[2] @ mixed[1] @ mixed[0], atol=1e-6)
    places = token_map(rows, prefix=1, height=4, width=4)
    assert torch.equal(places[1, 2, 3], rows[1, 0, 1 + 2 * 4 + 3])
    assert torch.equal(net(shown), before)
    assert [one.fused_attn for one in net.modules() if hasattr(one, "fused_attn")] == fused


def test_the_first_layers_attention_is_the_modules_own():
    net, shown = small_net("torchvision vit"), images()
    tokens = torch.cat((net.class_token.expand(2, -1, -1), net._process_input(shown)), 1) + net.encoder.pos_embedding
    block = net.encoder.layers[0]
    queries, keys, _ = (
        block.ln_1(tokens) @ block.self_attention.in_proj_weight.T + block.self_attention.in_proj_bias
    ).chunk(3, dim=-1)
    queries, keys = (one.unflatten(2, (2, 8)).transpose(1, 2) for one in (queries, keys))
    by_hand = (queries @ keys.transpose(2, 3) / 8**0.5).softmax(dim=-1)
    assert torch.allclose(attentions(net, shown, name="vit")[0], by_hand, atol=1e-6)


@pytest.mark.parametrize("name", ["torchvision swin", "timm swin", "resnet20"])
def test_rollout_is_refused_without_attention_over_the_whole_image(name):
    with pytest.raises(UserError, match=f"rollout: {name} has no attention over the whole image"):
        attentions(small_net(name), images(), name=name)


@pytest.mark.parametrize("name", ["resnet20", "timm vit"])
def test_looking_changes_nothing(name):
    net, shown = small_net(name), images()
    net.train()
    next(net.modules()).training = True
    still = next(one for one in net.modules() if not list(one.children()))
    still.eval()
    modes = [one.training for one in net.modules()]
    state = {key: value.clone() for key, value in net.state_dict().items()}
    for value in net.parameters():
        value.grad = torch.ones_like(value)
    generator = torch.get_rng_state()
    grid = last_grid(net, shown, name=name)
    grad_cam(net, grid, shown, WANTED)
    grad_cam_pp(net, grid, shown, WANTED)
    occlusion(net, shown, WANTED, window=16, stride=16)
    integrated_gradients(net, shown, WANTED, steps=2)
    stage_grids(net, shown)
    for look in (lambda: attentions(net, shown, name=name), lambda: cam(net, grid, shown, WANTED, name=name)):
        try:
            look()
        except UserError:
            continue
    assert [one.training for one in net.modules()] == modes and not still.training
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all((value.grad == 1).all() for value in net.parameters())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in net.modules())
    assert torch.equal(torch.get_rng_state(), generator)
