"""The learning-rate range test and the comparison: their numbers, and that they leave nothing behind."""

import math
import random

import numpy as np
import pytest
import torch
from lightning import Callback

from engine.data_and_task import build_data, build_task
from engine.lr_finder import FollowRates, best_rate, compare_rates, range_test, rising, smooth, suggest
from engine.trial import trial
from models import freezing
from settings.reading.compose import compose

MLP = ("model=mlp", "model.widths=[32]", "model.dropout=0")


def built(*overrides, net=MLP):
    config = compose([*net, "data.batch_size=32", *overrides])
    data, preprocessing = build_data(config)
    return build_task(config, data, preprocessing), data, config.trainer.lightning_arguments()


def test_running_mean_is_the_weighted_mean_of_what_was():
    losses = [3.0, 1.0, 2.0, 5.0]
    for count in range(1, 5):
        weights = 0.9 ** np.arange(count)[::-1]
        assert smooth(losses, 0.9)[count - 1] == pytest.approx(np.average(losses[:count], weights=weights))


def test_rates_rise_by_one_factor_from_end_to_end():
    rates = rising(1e-5, 10.0, 7)
    assert rates == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0])


def test_suggestions_on_a_curve_with_known_answers():
    rates = rising(1e-6, 10.0, 141)  # 20 steps a decade
    logs = np.log10(rates)
    fall = 2.3 / (1 + np.exp(4 * (logs + 3)))  # steepest at 1e-3
    rise = np.exp(6 * (logs - 0))  # and up again
    found = suggest(rates, list(fall + rise))
    assert math.log10(found.steepest) == pytest.approx(-3, abs=0.06)
    fine = np.linspace(-3, 1, 400_001)
    lowest = fine[np.argmin(2.3 / (1 + np.exp(4 * (fine + 3))) + np.exp(6 * fine))]
    assert math.log10(found.lowest) == pytest.approx(lowest, abs=0.03)
    assert found.tenth == pytest.approx(found.lowest / 10)
    with_nan = [*(fall + rise)[:-3], math.nan, math.inf, math.nan]
    assert suggest(rates, with_nan) == found
    assert suggest(rates, list(rise)) is None, "nothing fell"
    assert suggest(rates[:3], [3.0, 2.0, 1.0]) is None, "too short to say"


class Spy(Callback):
    def __init__(self):
        self.used = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.used.append([group["lr"] for group in optimizer.param_groups])


def test_each_step_is_made_with_its_rate_and_groups_keep_their_ratio(monkeypatch):
    task, data, arguments = built("optimizer=sgd", "optimizer.lr=0.5")
    single = freezing.parameter_groups

    def two_rates(*given, **named):
        groups = single(*given, **named)
        groups[1]["lr"] *= 0.1
        return groups

    monkeypatch.setattr(freezing, "parameter_groups", two_rates)
    spy, rates = Spy(), [0.3, 0.2, 0.7]
    with trial(task, data, steps=3, arguments=arguments, callbacks=[FollowRates(rates, base=0.5), spy]):
        pass
    assert [used[0] for used in spy.used] == pytest.approx(rates)
    assert [used[1] for used in spy.used] == pytest.approx([0.03, 0.02, 0.07])


def test_a_step_of_plain_sgd_moves_the_weights_by_rate_times_gradient():
    task, data, arguments = built("optimizer=sgd", "optimizer.momentum=0", "optimizer.weight_decay=0")
    with trial(task, data, steps=1, arguments=arguments, callbacks=[FollowRates([0.25], base=0.1)]) as (_, copied):
        moved = {name: value.detach().clone() for name, value in copied.net.named_parameters()}
    batch = data.train_batch(next(iter(data.train_dataloader())), step=0)
    loss = torch.nn.functional.cross_entropy(task.net(batch[0]), batch[1])
    names, parameters = zip(*task.net.named_parameters(), strict=True)
    for name, value, gradient in zip(names, parameters, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(moved[name], value - 0.25 * gradient)


def state(task):
    return {name: value.clone() for name, value in task.state_dict().items()}


def test_everything_is_as_it_was_and_a_later_run_sees_the_same():
    task, data, arguments = built("augment=light", net=["model=resnet20"])
    task.net.eval()
    first = next(iter(data.train_dataloader()))
    untouched = compare_rates(task, data, [0.01], base=0.01, steps=4, arguments=arguments)
    before = state(task), random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    curve = range_test(task, data, base=0.01, lowest=1e-4, highest=1.0, steps=40, arguments=arguments)
    assert len(curve.losses) > 20
    for name, value in state(task).items():
        assert torch.equal(value, before[0][name]), name
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    assert torch.equal(torch.get_rng_state(), before[3])
    assert data.trainer is None and task._trainer is None and not task.net.training
    assert all(parameter.grad is None for parameter in task.parameters())
    again = next(iter(data.train_dataloader()))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    after = compare_rates(task, data, [0.01], base=0.01, steps=4, arguments=arguments)
    assert (after[0].losses, after[0].metrics) == (untouched[0].losses, untouched[0].metrics)


def test_the_test_stops_where_the_loss_diverges():
    task, data, arguments = built("optimizer=sgd")
    curve = range_test(task, data, base=0.1, lowest=1e-3, highest=1e9, steps=60, arguments=arguments)
    assert len(curve.losses) == len(curve.rates) < 60
    assert not curve.smoothed[-1] <= 4 * min(curve.smoothed)
    assert all(value <= 4 * min(curve.smoothed[: n + 1]) for n, value in enumerate(curve.smoothed[:-1]))


def test_rates_are_compared_from_one_start_on_the_same_batches():
    task, data, arguments = built("optimizer=sgd")
    slow, fast, wild = compare_rates(task, data, [1e-4, 0.1, 1e30], base=0.1, steps=30, arguments=arguments)
    assert slow.losses[0] == fast.losses[0] == wild.losses[0]
    assert (len(slow.losses), len(fast.losses)) == (30, 30)
    assert fast.smoothed[-1] < 0.7 * slow.smoothed[-1]
    assert fast.metrics["val/accuracy"] > slow.metrics["val/accuracy"]
    assert len(wild.losses) < 30 and wild.metrics == {} and wild.said().endswith("diverged")
    assert best_rate([slow, fast, wild]) == 0.1 and best_rate([wild]) is None


def test_accumulated_batches_make_one_step_of_the_same_loss():
    whole, data, arguments = built("optimizer=sgd")
    parts, cut, accumulating = built("optimizer=sgd", "trainer.accumulate_grad_batches=4")
    expected = range_test(whole, data, base=0.1, lowest=0.01, highest=0.1, steps=12, arguments=arguments)
    found = range_test(parts, cut, base=0.1, lowest=0.01, highest=0.1, steps=12, arguments=accumulating)
    assert found.losses == pytest.approx(expected.losses, rel=1e-4)
