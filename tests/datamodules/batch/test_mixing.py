"""Mixup and CutMix against torchvision's at the same share, partner and box; the coin that they share."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from datamodules.batch import build_recipe
from datamodules.batch.boxes import Boxes
from datamodules.batch.cutmix import CutMix, cutmix
from datamodules.batch.mixing import AtMostOne, draw_lam, draw_partners, mix_targets, soft
from datamodules.batch.mixup import Mixup, mixup
from settings.errors import UserError

CLASSES = 7


def batch(n=24, channels=3, height=16, width=20):
    noise = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=noise)
    return images, torch.randint(0, CLASSES, (n,), generator=noise)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_mixup_equals_torchvisions_at_the_same_shares_and_partners():
    images, targets = batch()
    lam, partners = Mixup(num_classes=CLASSES).draw(24, seeded(3))
    reference = v2.MixUp(num_classes=CLASSES)
    ours, labels = mixup(images, lam, partners), mix_targets(soft(targets, CLASSES), lam, partners)
    assert ours.dtype == torch.uint8
    for index in range(24):
        pair = torch.tensor([int(partners[index]), index])  # torchvision's partner is the image before
        params = {"labels": targets[pair], "batch_size": 2, "lam": lam[index].item()}
        expected = reference.transform(images[pair].float(), params)[1]
        # Half a grey level, as ours stays in 8 bits, and a rounding error of float32.
        assert (ours[index].float() - expected).abs().max() <= 0.5 + 1e-4
        assert torch.allclose(labels[index], reference.transform(params["labels"], params)[1], atol=1e-6)


def test_cutmix_equals_torchvisions_at_the_same_boxes_and_partners():
    images, targets = batch()
    boxes, partners = CutMix(num_classes=CLASSES).draw(24, 16, 20, seeded(3))
    out, labels, _ = CutMix(num_classes=CLASSES).mix(images, soft(targets, CLASSES), None, seeded(3))
    assert torch.equal(out, cutmix(images, boxes, partners))
    reference = v2.CutMix(num_classes=CLASSES)
    areas = []
    for index in range(24):
        pair = torch.tensor([int(partners[index]), index])
        top, bottom, left, right = (int(edge[index]) for edge in boxes)
        areas.append((bottom - top) * (right - left))
        params = {"labels": targets[pair], "batch_size": 2, "box": (left, top, right, bottom)}
        params["lam_adjusted"] = 1 - areas[-1] / (16 * 20)
        assert torch.equal(out[index], reference.transform(images[pair], params)[1])
        assert torch.allclose(labels[index], reference.transform(params["labels"], params)[1], atol=1e-6)
    assert len(set(areas)) > 10


def test_boxes_are_drawn_as_torchvision_draws_them(monkeypatch):
    """The same share and centre give the same box."""
    seen = {}
    monkeypatch.setattr(
        "datamodules.batch.cutmix.draw_lam", lambda n, *_: seen.setdefault("lam", draw_lam(n, 1.0, seeded(9)))
    )
    original, centres = torch.randint, []
    monkeypatch.setattr(torch, "randint", lambda *a, **k: centres.append(original(*a, **k)) or centres[-1])
    boxes, _ = CutMix(num_classes=CLASSES).draw(50, 16, 20, seeded(3))
    rows, columns = [one for one in centres if one.shape == (50,)]
    monkeypatch.undo()
    reference = v2.CutMix(num_classes=CLASSES)
    for index in range(50):
        reference._dist = type("Fixed", (), {"sample": lambda self, shape, i=index: seen["lam"][i]})()
        answers = iter([columns[index : index + 1], rows[index : index + 1]])  # x first
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *a, answers=answers, **k: next(answers))
            left, top, right, bottom = reference.make_params([torch.zeros(1, 16, 20)])["box"]
        assert (top, bottom, left, right) == tuple(int(edge[index]) for edge in boxes)


def test_shares_come_from_the_beta_distribution():
    for alpha in (0.2, 1.0, 4.0):
        ours = draw_lam(4000, alpha, seeded()).double().numpy()
        assert ours.min() >= 0 and ours.max() <= 1
        variance = 1 / (4 * (2 * alpha + 1))
        assert abs(ours.mean() - 0.5) < 4 * (variance / 4000) ** 0.5
        assert abs(ours.var() / variance - 1) < 0.1
        theirs = torch.distributions.Beta(alpha, alpha).sample((4000,)).double().numpy()
        grid = np.linspace(0, 1, 101)
        steps = [np.searchsorted(np.sort(one), grid) / 4000 for one in (ours, theirs)]
        assert np.abs(steps[0] - steps[1]).max() < 1.95 * (2 / 4000) ** 0.5


def far_apart(first, second):
    """Two samples of one size, by Kolmogorov and Smirnov: true once in 1000 if they are of one distribution."""
    grid = torch.cat([first, second])
    steps = [torch.searchsorted(one.sort().values, grid, right=True) / len(one) for one in (first, second)]
    return (steps[0] - steps[1]).abs().max() > 1.95 * (2 / len(first)) ** 0.5


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_and_areas_are_drawn_as_torchvision_draws_them(alpha):
    n, image = 2000, torch.zeros(1, 40, 40)
    torch.manual_seed(0)
    reference = v2.MixUp(alpha=alpha, num_classes=CLASSES)
    theirs = torch.tensor([float(reference.make_params([image])["lam"]) for _ in range(n)])
    ours, _ = Mixup(num_classes=CLASSES, alpha=alpha).draw(n, seeded())
    assert ours.min() >= 0.5, "the larger part is the image's own"
    assert not far_apart(ours, torch.maximum(theirs, 1 - theirs))
    reference = v2.CutMix(alpha=alpha, num_classes=CLASSES)
    params = [reference.make_params([image]) for _ in range(n)]
    boxes, _ = CutMix(num_classes=CLASSES, alpha=alpha).draw(n, 40, 40, seeded())
    areas = (boxes.bottom - boxes.top) * (boxes.right - boxes.left)
    assert not far_apart(1 - areas / 1600, torch.tensor([one["lam_adjusted"] for one in params]))
    theirs = torch.tensor([one["box"] for one in params]).T  # left, top, right, bottom
    for edge, other in zip((boxes.left, boxes.top, boxes.right, boxes.bottom), theirs, strict=True):
        assert not far_apart(edge, other)


def test_a_share_of_one_and_a_box_without_area_change_nothing():
    images, targets = batch()
    labels, whole, partners = soft(targets, CLASSES), torch.ones(24), draw_partners(24, seeded())
    assert torch.equal(mixup(images, whole, partners), images)
    assert torch.equal(mix_targets(labels, whole, partners), labels)
    edge = torch.full((24,), 5)
    assert torch.equal(cutmix(images, Boxes(edge, edge, edge, edge + 4), partners), images)


def test_nobody_is_their_own_partner():
    for n in (2, 3, 10, 101):
        partners = draw_partners(n, seeded(n))
        assert torch.equal(partners.sort().values, torch.arange(n))
        assert (partners != torch.arange(n)).all()
    assert draw_partners(1, seeded()).tolist() == [0]
    firsts = torch.stack([draw_partners(4, seeded(seed)) for seed in range(600)])[:, 0].bincount()
    assert firsts[0] == 0 and ((firsts[1:] - 200.0) ** 2 / 200).sum() < 13.8


def test_hard_labels_of_unmixed_images_stay_one_hot():
    images, targets = batch(400, 1, 4, 4)
    out, labels, _ = Mixup(num_classes=CLASSES, p=0.3)(images, targets, generator=seeded())
    same = AtMostOne([Mixup(num_classes=CLASSES, p=0.3)]).draw(400, seeded()) == 1
    assert torch.equal(out[same], images[same])
    assert torch.equal(labels[same], soft(targets, CLASSES)[same])
    assert 0.6 < same.float().mean() < 0.8


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.5), (0.3, 0.2), (1.0, 0.0), (0.0, 0.4)])
def test_lines_that_mix_share_one_coin(first, second):
    lines = {"mixup": {"p": first}, "cutout": None, "cutmix": {"p": second}}
    (both,) = build_recipe(lines, num_classes=CLASSES)
    assert isinstance(both, AtMostOne)
    drawn = both.draw(20_000, seeded()).bincount(minlength=3) / 20_000
    for rate, expected in zip(drawn.tolist(), (first, second, 1 - first - second), strict=True):
        assert abs(rate - expected) <= 4 * (expected * (1 - expected) / 20_000) ** 0.5 + 1e-9


def test_no_image_is_mixed_twice_and_none_is_left_when_they_alternate():
    """Colours tell who is in an image: each holds two, by overlap or by patch, as its label says."""
    n = 64
    images = torch.zeros(n, 1, 16, 16, dtype=torch.uint8)
    images[:] = 3 * torch.arange(1, n + 1).view(-1, 1, 1, 1)
    (both,) = build_recipe({"mixup": {"p": 0.5}, "cutmix": {"p": 0.5}}, num_classes=n)
    drawn = both.draw(n, seeded(2))
    out, labels, _ = both(images, torch.arange(n), generator=seeded(2))
    assert 20 < (drawn == 0).sum() < 44
    for index in range(n):
        members = (labels[index] > 0).nonzero()[:, 0].tolist()
        assert 1 <= len(members) <= 2
        assert {int(drawn[one]) for one in members} <= {int(drawn[index])}
        values = out[index].unique().tolist()
        if drawn[index] == 0:
            assert len(values) == 1
            shares = (labels[index] * 3 * torch.arange(1, n + 1)).sum()
            assert abs(values[0] - shares) <= 0.51
        else:
            assert set(values) <= {3 * (one + 1) for one in members}
            for one in members:
                area = (out[index] == 3 * (one + 1)).float().mean()
                assert labels[index, one].item() == pytest.approx(area.item(), abs=1e-6)


def test_chances_above_one_are_refused():
    with pytest.raises(UserError, match=r"augment: .* sum to 1\.1"):
        build_recipe({"mixup": {"p": 0.6}, "cutmix": {"p": 0.5}}, num_classes=3)


def test_masks_are_patched_and_cannot_overlap():
    images, targets = batch()
    masks = images[:, 0].long()
    out, _, moved = CutMix(num_classes=CLASSES)(images, targets, generator=seeded(), masks=masks)
    assert torch.equal(moved, out[:, 0].long())
    with pytest.raises(ValueError, match=r"drop augment\.mixup"):
        Mixup(num_classes=CLASSES)(images, targets, generator=seeded(), masks=masks)


def test_a_box_by_hand():
    images = torch.stack([torch.zeros(1, 2, 3), torch.ones(1, 2, 3)]).to(torch.uint8)
    boxes = Boxes(*(torch.tensor(edge) for edge in ([0, 1], [1, 2], [0, 0], [2, 0])))
    out = cutmix(images, boxes, torch.tensor([1, 0]))
    assert out[:, 0].tolist() == [[[1, 1, 0], [0, 0, 0]], [[1, 1, 1], [1, 1, 1]]]
