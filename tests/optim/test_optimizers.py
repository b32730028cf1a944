"""The optimizers by name and by class: torch's own, an interruption, and what is refused."""

import io

import pytest
import torch
from optimizer_parts import Gated, plain_net, seeded, step_alike, toy, train
from torch import nn

from utils.errors import CourseworkError
from utils.my_utils import train_batch
from utils.optim.muon import Muon
from utils.optim.optimizers import OPTIMIZERS, make_optimizer

DECAY = {name: {"weight_decay": 0.01} for name in ("sgd", "adam", "adamw")} | {"muon": {"sgd_weight_decay": 0.01}}
TORCH = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize("name", TORCH)
def test_a_named_optimizer_steps_as_torchs_own_unfused(name):
    settings = {"weight_decay": 0.05} | ({"momentum": 0.9} if name == "sgd" else {})
    net, other = seeded(plain_net), seeded(plain_net)
    theirs = TORCH[name](other.parameters(), lr=0.01, foreach=False, fused=False, **settings)
    step_alike([make_optimizer(name, net, 0.01, **settings), theirs], [net.parameters(), other.parameters()], 5)
    for parameter, right in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter, right, rtol=1e-5, atol=1e-6)


def test_the_fused_form_is_taken_where_it_is_safe_and_can_be_declined():
    net = plain_net()
    assert make_optimizer("adam", net, 0.1).defaults["fused"] and make_optimizer("adamw", net, 0.1).defaults["fused"]
    assert not make_optimizer("sgd", net, 0.1).defaults["fused"]
    assert not make_optimizer("adam", net, 0.1, fused=False).defaults["fused"]
    assert not make_optimizer("adam", net, 0.1, foreach=True).defaults["fused"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_first_step_left_out_by_a_grad_scaler_leaves_no_trace(name):
    parameters = [nn.Parameter(torch.ones(1000)), nn.Parameter(torch.ones(4, 4))]
    optimizer = make_optimizer(name, parameters, 0.1, momentum=0.9) if name == "sgd" else None
    optimizer = optimizer or make_optimizer(name, parameters, 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor in (float("inf"), 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale(sum((factor * parameter).sum() for parameter in parameters)).backward()
        scaler.step(optimizer)
        scaler.update()
        if factor != 1:
            assert all((parameter == 1).all() for parameter in parameters)
    assert all(0 < float(parameter.detach().min()) < 1 for parameter in parameters)


@pytest.mark.parametrize("done", [0, 1, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_goes_on_bit_by_bit_from_a_saved_state(name, done):
    settings = DECAY[name] | ({"momentum": 0.9} if name == "sgd" else {})
    net = seeded(Gated)
    optimizer = make_optimizer(name, net, 0.02, **settings)
    train(net, optimizer, done)
    file = io.BytesIO()
    torch.save([net.state_dict(), optimizer.state_dict()], file)
    expected = train(net, optimizer, 4)

    other = Gated()
    again = make_optimizer(name, other, 0.5, **settings)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    other.load_state_dict(weights)
    again.load_state_dict(state)
    assert train(other, again, 4) == expected
    assert all(torch.equal(one, right) for one, right in zip(other.parameters(), net.parameters(), strict=True))


@pytest.mark.parametrize(
    "name, lr, settings, told",
    [
        ("lion", 0.1, {}, "sgd, adam, adamw, muon"),
        ("adam", 0.1, {"momentum": 0.9}, "betas=(0.9, 0.999)"),
        ("sgd", -0.1, {}, "Cannot make the optimizer 'sgd'"),
        ("muon", -0.1, {}, "-0.1"),
        ("muon", float("nan"), {}, "nan"),
        ("muon", 0.1, {"momentum": 1.0}, "below 1"),
        ("muon", 0.1, {"sgd_momentum": -1}, "-1"),
        ("muon", 0.1, {"last_linear": "muon"}, "last_linear"),
        (torch.optim.RMSprop, 0.1, {"momenta": 1}, "momentum=0"),
        (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), 0.1, {}, "object of the class SGD"),
        (None, 0.1, {}, "object of the class NoneType"),
        (lambda parameters, lr: "sgd", 0.1, {}, "torch.optim.optimizer.Optimizer"),
        ("muon", 0.1, {"betas": (0.9, 0.99)}, "ns_steps=5"),
    ],
)
def test_what_cannot_be_made_is_refused_with_what_can(name, lr, settings, told):
    with pytest.raises(CourseworkError) as caught:
        make_optimizer(name, plain_net(), lr, **settings)
    assert told in str(caught.value) and len(str(caught.value).splitlines()) < 10


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_network_without_parameters_is_refused(name):
    with pytest.raises(CourseworkError, match="Cannot make the optimizer"):
        make_optimizer(name, nn.ReLU(), 0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gpu_takes_the_steps_of_the_cpu(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # Adam's step turns where a gradient near 0 does
    nets = [seeded(Gated), seeded(Gated).cuda()]
    X, y = toy()
    for net, device in zip(nets, ("cpu", "cuda"), strict=True):
        optimizer = make_optimizer(name, net, 0.01)
        for _ in range(3):
            train_batch(net, X.to(device), y.to(device), nn.CrossEntropyLoss(), optimizer)
    for right, found in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(found.cpu(), right, rtol=0.05, atol=0.01)  # Muon: bfloat16 against float32


def test_groups_of_parameters_are_taken_as_torch_takes_them():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    groups = [{"params": net[0].parameters(), "lr": 0.5}, {"params": net[1].parameters()}]
    optimizer = make_optimizer("adam", groups, 0.1)
    assert [(group["lr"], len(group["params"])) for group in optimizer.param_groups] == [(0.5, 2), (0.1, 2)]
    with pytest.raises(CourseworkError, match="makes its groups itself"):
        make_optimizer("muon", [{"params": [net[0].weight]}], 0.1)


def test_a_class_of_torch_or_a_function_stands_in_place_of_a_name():
    made = make_optimizer(torch.optim.RMSprop, plain_net(), 0.03, alpha=0.9)
    assert type(made) is torch.optim.RMSprop and made.defaults["lr"] == 0.03 and made.defaults["alpha"] == 0.9

    def two_groups(parameters, lr):
        return torch.optim.SGD([{"params": parameters[:1], "lr": 10 * lr}, {"params": parameters[1:]}], lr=lr)

    made = make_optimizer(two_groups, plain_net(), 0.03)
    assert [group["lr"] for group in made.param_groups] == [0.3, 0.03]


def test_the_class_muon_gets_the_network_as_its_name_does():
    net = Gated()
    by_name, by_class = (make_optimizer(choice, net, 0.02, norm_lr=0.5) for choice in ("muon", Muon))
    assert type(by_name) is type(by_class) is Muon and len(by_class.param_groups) == 3
    for one, other in zip(by_name.param_groups, by_class.param_groups, strict=True):
        assert one.keys() == other.keys() and all(one[name] is other[name] for name in ("lr", "momentum"))
