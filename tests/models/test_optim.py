import io
from dataclasses import dataclass
from inspect import signature

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from timm import optim as timm_optim
from torch import nn
from torch.optim import lr_scheduler as torch_schedules

from models.losses.cross_entropy import cross_entropy
from models.optim import Schedule, build_optimizer, parameter_groups, rate, schedule_of
from settings.errors import UserError
from settings.schema import optimizers, schedules, signatures

EPOCHS, STEPS_PER_EPOCH = 6, 5
TOTAL = EPOCHS * STEPS_PER_EPOCH

# Another value than the default of what a test below compares with torch; the rest is as the constructor has it.
ARGUMENTS = {
    "step": {"every_epochs": 2, "gamma": 0.5},
    "inverse_time": {"decay": 0.3},
    "inverse_time_compound": {"decay": 0.3},
    "cosine": {"final_fraction": 0.01},
    "linear": {"final_fraction": 0.07},
    "plateau": {"patience": 1},
}
OWN, SHAPES = optimizers.own(), schedules.own()
CASES = [
    ("sgd", "SGD", {"lr": 0.1, "momentum": 0.0}),
    ("sgd", "SGD", {"lr": 0.05, "momentum": 0.9}),
    ("sgd", "SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("adam", "Adam", {"lr": 0.003, "betas": [0.9, 0.99], "eps": 1e-7}),
    ("adamw", "AdamW", {"lr": 0.003, "betas": [0.8, 0.99], "eps": 1e-7}),
    ("rmsprop", "RMSprop", {"lr": 0.001, "alpha": 0.9, "momentum": 0.5, "eps": 1e-7}),
    ("adagrad", "Adagrad", {"lr": 0.02, "eps": 1e-7}),
    ("adadelta", "Adadelta", {"lr": 1.0, "rho": 0.8, "eps": 1e-5}),
]


def is_of_torch(name):
    made = build_optimizer([{"params": [nn.Parameter(torch.ones(1))], "lr": 0.1, "weight_decay": 0.0}], name=name)
    return type(made).__module__.startswith("torch.optim.")


@dataclass
class Stage:
    name: str
    parameters: dict[str, nn.Parameter]


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


def stages(net):
    named = list(net.named_parameters())
    return [Stage("body", dict(named[:4])), Stage("head", dict(named[4:]))]


def schedule(name, *, lr=0.1, total_steps=TOTAL, **changes):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    own = {**ARGUMENTS.get(name, {}), **changes}
    return optimizer, Schedule(optimizer, name=name, total_steps=total_steps, steps_per_epoch=STEPS_PER_EPOCH, **own)


def lrs(optimizer, scheduler, steps=TOTAL):
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def reference(make, steps=TOTAL, every=1, lr=0.1):
    """Learning rates of a scheduler of torch's that is stepped once in `every` steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, seen = make(optimizer), []
    for step in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0 and step + 1 < steps:
            scheduler.step()
    return seen


# --- groups and optimisers


def test_norms_and_biases_are_never_decayed():
    net = small_net()
    decay, no_decay = parameter_groups(stages(net), lr=0.2, weight_decay=0.3)
    assert [id(p) for p in decay["params"]] == [id(net[0].weight), id(net[3].weight)]
    assert {id(p) for p in no_decay["params"]} == {
        id(p) for p in (net[0].bias, net[1].weight, net[1].bias, net[3].bias)
    }
    assert (decay["weight_decay"], no_decay["weight_decay"]) == (0.3, 0.0)
    assert decay["lr"] == no_decay["lr"] == 0.2


@pytest.mark.parametrize("name", [name for name in OWN if "weight_decay" in optimizers.arguments(name)])
def test_decay_alone_moves_weights_and_leaves_the_rest(name):
    net = small_net()
    optimizer = build_optimizer(parameter_groups(stages(net), lr=0.1, weight_decay=0.1), name=name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {key for key, _ in net.named_parameters() if not torch.equal(net.state_dict()[key], before[key])}
    assert moved == {"0.weight", "3.weight"}


def test_a_parameter_in_two_stages_is_refused_and_an_empty_group_left_out():
    net = small_net()
    with pytest.raises(ValueError, match=r"head\.weight.*first time as 0\.weight"):
        parameter_groups(
            [Stage("a", {"0.weight": net[0].weight}), Stage("b", {"head.weight": net[0].weight})],
            lr=1,
            weight_decay=0,
        )
    groups = parameter_groups([Stage("a", {"0.weight": net[0].weight})], lr=1, weight_decay=0)
    assert [group["name"] for group in groups] == ["decay"]


def digits():
    images, labels = (torch.as_tensor(part[:256]) for part in load_digits(return_X_y=True))
    return images.float() / 16, labels


@pytest.mark.parametrize("name", OWN)
def test_a_few_steps_on_digits_reduce_the_loss(name):
    images, labels = digits()
    net = small_net()
    lr = {"sgd": 0.05, "adadelta": 1.0}.get(name, signatures.defaults(optimizers.target(name)).get("lr", 0.01))
    optimizer = build_optimizer(parameter_groups(stages(net), lr=lr, weight_decay=1e-4), name=name)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses


@pytest.mark.parametrize(("name", "torchs", "own"), CASES)
def test_the_steps_are_those_of_torchs_own_class(name, torchs, own):
    images, labels = digits()
    nets = []
    for is_ours in (True, False):
        net = small_net()
        groups = parameter_groups(stages(net), lr=own["lr"], weight_decay=0.01)
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in own.items() if key != "lr"}
        optimizer = (
            build_optimizer(groups, name=name, fused=False, **{key: own[key] for key in given})
            if is_ours
            else getattr(torch.optim, torchs)(groups, **given)
        )
        for _ in range(5):
            optimizer.zero_grad()
            cross_entropy(net(images), labels).backward()
            optimizer.step()
        nets.append(net.state_dict())
    assert all(torch.equal(nets[0][key], nets[1][key]) for key in nets[0])


def test_whoever_has_a_torch_class_of_its_name_is_compared_with_it():
    names = {name.lower() for name in optimizers.torch_classes()}
    assert {name for name in OWN if name in names} <= {name for name, _, _ in CASES}


def small_convolution():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def library_steps(name, first, last, state=None):
    """Net and optimiser after some steps; each step's images are keyed by its number."""
    net = small_convolution()
    named = dict(net.named_parameters())
    optimizer = build_optimizer(parameter_groups([Stage("net", named)], lr=0.01, weight_decay=0.0), name=name)
    if state is not None:
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
    for step in range(first, last):
        torch.manual_seed(step)
        images, labels = torch.randn(8, 1, 8, 8), torch.randint(10, (8,))
        optimizer.zero_grad()
        cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net, optimizer


LIBRARIES = [
    name
    for name in [*optimizers.torch_classes(), *optimizers.timm_names()]
    if (found := optimizers.find(name)).source != "own"
    and not optimizers.refused(name)
    and not found.target.startswith("timm.optim.kron.")  # torch.compile takes a minute and a half for it
]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_librarys_optimiser_takes_our_groups_moves_all_and_goes_on_from_its_state(name):
    whole, _ = library_steps(name, 0, 4)
    for (key, before), after in zip(small_convolution().named_parameters(), whole.parameters(), strict=True):
        assert not torch.equal(before, after) and after.isfinite().all(), key
    net, optimizer = library_steps(name, 0, 2)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    resumed, _ = library_steps(name, 2, 4, torch.load(file, weights_only=True))
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("NAdam", lambda groups: torch.optim.NAdam(groups)),
        ("lion", lambda groups: timm_optim.create_optimizer_v2(groups, opt="lion", lr=0.01)),
        ("muon", lambda groups: timm_optim.create_optimizer_v2(groups, opt="muon", lr=0.01)),
        ("nlars", lambda groups: timm_optim.create_optimizer_v2(groups, opt="nlars", lr=0.01)),
    ],
)
def test_steps_of_library_optimisers_are_those_of_the_librarys_own_factory(name, make):
    ends = []
    for build in (make, lambda groups: build_optimizer(groups, name=name)):
        net = small_convolution()
        optimizer = build(parameter_groups([Stage("net", dict(net.named_parameters()))], lr=0.01, weight_decay=0.1))
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.ones(4, 1, 8, 8).cumsum(2)).square().sum().backward()
            optimizer.step()
        ends.append(net.state_dict())
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())


def test_what_a_librarys_optimiser_does_not_take_is_the_users_mistake():
    groups = [{"params": [nn.Parameter(torch.ones(3))], "lr": 0.1, "weight_decay": 0.0}]
    with pytest.raises(UserError, match="optimizer=NAdam: Invalid beta"):
        build_optimizer(groups, name="NAdam", betas=[0.9, 1.5])


@pytest.mark.parametrize("name", OWN)
def test_fused_where_torch_has_it_and_equal_to_the_plain_update(name):
    results = []
    for fused in (None, False):
        net = small_net()
        optimizer = build_optimizer(parameter_groups(stages(net), lr=0.01, weight_decay=0.1), name=name, fused=fused)
        if fused is None:
            devices = signatures.module_value(f"models.optimizers.{name}", "FUSED") or ()
            assert bool(optimizer.param_groups[0].get("fused")) == ("cpu" in devices)
        else:
            assert not optimizer.param_groups[0].get("fused")
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.ones(4, 64)).square().sum().backward()
            optimizer.step()
        results.append(net[0].weight.detach())
    torch.testing.assert_close(*results)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UserError, match="nearest: adam"):
        build_optimizer([], name="adamv")
    with pytest.raises(UserError, match="nearest: cosine"):
        Schedule(
            torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1),
            name="cosin",
            total_steps=1,
            steps_per_epoch=1,
        )


# --- schedules against torch's own


def test_step_is_torchs_step_lr():
    expected = reference(lambda o: torch_schedules.StepLR(o, 2, 0.5), every=STEPS_PER_EPOCH)
    assert lrs(*schedule("step")) == pytest.approx(expected)


def test_exponential_is_torchs_exponential_lr():
    expected = reference(lambda o: torch_schedules.ExponentialLR(o, 0.9), every=STEPS_PER_EPOCH)
    assert lrs(*schedule("exponential")) == pytest.approx(expected)


def test_linear_is_torchs_linear_lr_and_holds_its_end():
    expected = reference(lambda o: torch_schedules.LinearLR(o, start_factor=1.0, end_factor=0.07, total_iters=TOTAL))
    optimizer, scheduler = schedule("linear")
    assert lrs(optimizer, scheduler) == pytest.approx(expected)
    assert lrs(optimizer, scheduler, steps=3) == pytest.approx([0.007] * 3)


def test_cosine_is_torchs_cosine_annealing_lr_and_holds_its_end():
    expected = reference(lambda o: torch_schedules.CosineAnnealingLR(o, TOTAL, eta_min=0.1 * 0.01))
    optimizer, scheduler = schedule("cosine")
    assert lrs(optimizer, scheduler) == pytest.approx(expected)
    assert lrs(optimizer, scheduler, steps=3) == pytest.approx([0.001] * 3)


@pytest.mark.parametrize("peak", [0.02, 0.1, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("total", [7, 30, 101])
def test_one_cycle_is_torchs(peak, total):
    def make(optimizer):
        return torch_schedules.OneCycleLR(
            optimizer,
            max_lr=0.1,
            total_steps=total,
            pct_start=peak,
            div_factor=25,
            final_div_factor=400,
            cycle_momentum=False,
        )

    own = {"peak_fraction": peak, "start_fraction": 1 / 25, "final_fraction": 1 / 25 / 400}
    assert lrs(*schedule("one_cycle", total_steps=total, **own), steps=total) == pytest.approx(
        reference(make, steps=total), rel=1e-9
    )


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("peak", [0.0, 0.5, 1.0])
def test_one_cycle_of_very_few_steps_is_finite(total, peak):
    seen = lrs(*schedule("one_cycle", total_steps=total, peak_fraction=peak), steps=total + 2)
    assert all(0 < lr <= 0.1 + 1e-12 for lr in seen)


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_both_readings_of_inverse_time_decay(per):
    times = [step if per == "step" else step // STEPS_PER_EPOCH for step in range(TOTAL)]
    assert lrs(*schedule("inverse_time", per=per)) == pytest.approx([0.1 / (1 + 0.3 * t) for t in times])
    divided, rates = 0.1, []
    for before, now in zip([0, *times], times, strict=False):
        divided = divided / 1.3 if now > before else divided
        rates.append(divided)
    assert lrs(*schedule("inverse_time_compound", per=per)) == pytest.approx(rates)


def test_warm_up_is_torchs_linear_lr_and_multiplies():
    warmup = int(1.4 * STEPS_PER_EPOCH)
    expected = reference(
        lambda o: torch_schedules.ChainedScheduler(
            [
                torch_schedules.LinearLR(o, start_factor=1 / warmup, total_iters=warmup - 1),
                torch_schedules.CosineAnnealingLR(o, TOTAL, eta_min=0.0),
            ]
        )
    )
    found = lrs(*schedule("cosine", warmup_epochs=1.4, final_fraction=0.0))
    assert found == pytest.approx(expected)
    assert found[0] == pytest.approx(0.1 / warmup)


def test_one_cycle_refuses_a_second_warm_up():
    with pytest.raises(UserError, match=r"warmup_epochs=2"):
        schedule("one_cycle", warmup_epochs=2)


metrics = st.lists(st.one_of(st.floats(-2, 2), st.sampled_from([0.5, 0.50001, 0.4999, 0.6, float("nan")])), max_size=40)


@settings(max_examples=150, deadline=None)
@given(
    values=metrics,
    mode=st.sampled_from(["max", "min"]),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    factor=st.floats(0.1, 0.9),
    min_fraction=st.sampled_from([0.0, 0.05]),
)
def test_plateau_is_torchs_reduce_on_plateau(values, mode, patience, threshold, factor, min_fraction):
    own = {"factor": factor, "patience": patience, "threshold": threshold, "min_fraction": min_fraction}
    optimizer, ours = schedule("plateau", mode=mode, **own)
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    torchs = torch_schedules.ReduceLROnPlateau(
        theirs,
        mode=mode,
        factor=factor,
        patience=patience,
        threshold=threshold,
        min_lr=0.1 * min_fraction,
        eps=0,
    )
    for value in values:
        optimizer.step()
        ours.step()
        ours.observe(value)
        torchs.step(value)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9)


def test_only_plateau_takes_a_metric():
    with pytest.raises(ValueError, match="cosine watches no metric"):
        schedule("cosine")[1].observe(0.5)


# --- properties of all schedules


@pytest.mark.parametrize("stop", range(1, 8))
def test_plateau_goes_on_with_its_best_its_patience_and_its_reduction(stop):
    values = [0.5, 0.6, 0.55, 0.55, 0.58, 0.57, 0.59, 0.61]
    whole, cut = schedule("plateau"), schedule("plateau")
    rates = []
    for number, value in enumerate(values):
        if number == stop:
            state = cut[1].state_dict()
            cut = schedule("plateau")
            cut[1].load_state_dict(state)
            assert cut[0].param_groups[0]["lr"] == whole[0].param_groups[0]["lr"]
        for optimizer, scheduler in (whole, cut):
            optimizer.step()
            scheduler.step()
            scheduler.observe(value)
        rates.append(cut[0].param_groups[0]["lr"])
    assert rates == pytest.approx([0.1] * 3 + [0.01] * 2 + [0.001] * 3)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(SHAPES),
    stop=st.integers(0, TOTAL - 1),
    warmup=st.sampled_from([0.0, 0.5, 2.0]),
    values=st.lists(st.floats(0, 1), min_size=EPOCHS, max_size=EPOCHS),
)
def test_a_state_goes_on_identically(name, stop, warmup, values):
    warmup = 0.0 if schedules.warms_up(name) else warmup

    def run(optimizer, scheduler, first, last):
        seen = []
        for step in range(first, last):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
            if scheduler.watcher and (step + 1) % STEPS_PER_EPOCH == 0:
                scheduler.observe(values[step // STEPS_PER_EPOCH])
        return seen

    undisturbed = run(*schedule(name, warmup_epochs=warmup), 0, TOTAL)
    optimizer, scheduler = schedule(name, warmup_epochs=warmup)
    before = run(optimizer, scheduler, 0, stop)
    state = scheduler.state_dict()
    assert all(isinstance(value, int | float | None) for value in state.values())
    optimizer, scheduler = schedule(name, warmup_epochs=warmup)
    scheduler.load_state_dict(state)
    assert before + run(optimizer, scheduler, stop, TOTAL) == undisturbed


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(SHAPES),
    step=st.integers(0, 10**6),
    total=st.integers(1, 10**5),
    steps_per_epoch=st.integers(1, 10**4),
    warmup=st.floats(0, 10),
)
def test_rates_are_shares_never_negative(name, step, total, steps_per_epoch, warmup):
    own = {} if isinstance(schedule_of(name), type) else ARGUMENTS.get(name, {})
    share = rate(name, step, total_steps=total, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup, **own)
    assert 0 <= share <= 1 + 1e-12


def test_a_longer_run_goes_on_along_the_new_curve():
    optimizer, scheduler = schedule("cosine")
    lrs(optimizer, scheduler, steps=TOTAL)
    longer, again = schedule("cosine", total_steps=2 * TOTAL)
    again.load_state_dict(scheduler.state_dict())
    expected = 0.1 * rate(
        "cosine", TOTAL, total_steps=2 * TOTAL, steps_per_epoch=STEPS_PER_EPOCH, **ARGUMENTS["cosine"]
    )
    assert longer.param_groups[0]["lr"] == expected


@pytest.mark.parametrize("name", [name for name in OWN if is_of_torch(name)])
def test_a_step_on_the_cpu_does_not_look_for_gpus(name, monkeypatch):
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    optimizer = build_optimizer([{"params": [weight], "lr": 0.1, "weight_decay": 0.0}], name=name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("it looked for GPUs"))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: pytest.fail("it looked for GPUs"))
    optimizer.step()
    monkeypatch.undo()
    other = torch.nn.Parameter(torch.ones(3))
    other.grad = torch.ones(3)
    own = {key: value for key, value in optimizer.defaults.items() if key in signature(type(optimizer)).parameters}
    type(optimizer)([{"params": [other], "lr": 0.1, "weight_decay": 0.0}], **own).step()
    assert torch.equal(weight, other)


def test_a_step_is_marked_for_whoever_looks():
    """torch's marks and hooks stay where a profiler runs or somebody hooked in; the update is the same."""
    from torch.profiler import ProfilerActivity, profile

    weights, seen = [], []
    for hooked in (False, True):
        weight = nn.Parameter(torch.ones(3))
        optimizer = build_optimizer([{"params": [weight], "lr": 0.1, "weight_decay": 0.0}], name="adamw")
        if hooked:
            optimizer.register_step_post_hook(lambda *_: seen.append(1))
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            weight.grad = torch.arange(3.0)
            optimizer.step()
        assert any(event.key == "Optimizer.step#AdamW.step" for event in profiled.key_averages())
        optimizer.step(lambda: torch.zeros(()))
        weights.append(weight.detach())
    assert seen == [1, 1] and torch.equal(*weights)
