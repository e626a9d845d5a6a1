"""A held ticket stays held in a user's own code, whatever copies, saves, wraps or optimizes the model."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import lthrun
from lthrun.sparsity.tickets import FORMAT, Ticket

IMAGES, LABELS = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 2
NAMES = ("0.weight", "0.bias", "2.weight")
FORMS = ["parametrization", "hooks"]


def build() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


@pytest.fixture(params=[{}, {"pruned": "frozen"}], ids=["zero", "frozen"])
def ticket(request: pytest.FixtureRequest) -> Ticket:
    state = {name: tensor.clone() for name, tensor in build().state_dict().items()}
    masks = {name: torch.rand(state[name].shape) > 0.5 for name in NAMES}
    return Ticket(masks, state, {"format": FORMAT, **request.param})


@pytest.fixture
def zero_ticket() -> Ticket:
    state = {name: tensor.clone() for name, tensor in build().state_dict().items()}
    return Ticket({name: torch.rand(state[name].shape) > 0.5 for name in NAMES}, state, {"format": FORMAT})


def sgd(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.1)


def hold(
    ticket: Ticket, form: str, make: Callable[..., Any] = sgd, steps: int = 0
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model with the ticket held, and its optimizer, which may have momentum from `steps` before."""
    model = build()
    optimizer = make(model.parameters())
    train(model, optimizer, steps)
    ticket.apply(model)
    ticket.hold(model, *([optimizer] if form == "hooks" else []))
    return model, optimizer


def backward(model: nn.Module) -> None:
    nn.functional.cross_entropy(model(IMAGES), LABELS).backward()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        backward(model)
        optimizer.step()


def settle(ticket: Ticket, model: nn.Module) -> None:
    """In a copy, weight decay moves frozen weights until the next forward pass; zeros it does not move."""
    if ticket.frozen:
        model(IMAGES)


def wrong(ticket: Ticket, model: nn.Module) -> int:
    """How many pruned weights are not at their value."""
    count = 0
    for name, mask in ticket.masks.items():
        layer, _, key = name.rpartition(".")
        weight = getattr(model.get_submodule(layer), key).detach()
        expected = ticket.frozen[name] if ticket.frozen else torch.zeros_like(weight)
        count += int((weight != expected)[~mask].sum())
    return count


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [sgd, lambda p: torch.optim.AdamW(p, 0.01)])
def test_pruned_weights_are_held_and_kept_weights_train(ticket: Ticket, form: str, make: Callable[..., Any]):
    model, optimizer = hold(ticket, form, make, steps=2)
    for _ in range(4):
        train(model, optimizer, 1)
        assert wrong(ticket, model) == 0
    assert not torch.equal(
        model[2].weight[ticket.masks["2.weight"]], ticket.state["2.weight"][ticket.masks["2.weight"]]
    )


@pytest.mark.parametrize("make", [sgd, lambda p: torch.optim.AdamW(p, 0.01)])
def test_both_forms_train_the_same_weights(ticket: Ticket, make: Callable[..., Any]):
    models = [hold(ticket, form, make) for form in FORMS]
    for model, optimizer in models:
        train(model, optimizer, 5)
    (one, _), (other, _) = models
    for layer in (0, 2, 5):
        assert torch.equal(one[layer].weight, other[layer].weight) and torch.equal(one[layer].bias, other[layer].bias)


@pytest.mark.parametrize("form", FORMS)
def test_a_deep_copy_of_model_and_optimizer_is_held(ticket: Ticket, form: str):
    model, optimizer = copy.deepcopy(hold(ticket, form))
    train(model, optimizer)
    settle(ticket, model)
    assert wrong(ticket, model) == 0
    model = copy.deepcopy(model)
    train(model, sgd(model.parameters()))
    settle(ticket, model)
    assert wrong(ticket, model) == 0


def save_and_load(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # of the test's own making


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_model_and_optimizer_are_held(ticket: Ticket, form: str):
    model, optimizer = hold(ticket, form)
    train(model, optimizer)
    weights = model[2].weight.clone()
    model, optimizer = save_and_load((model, optimizer))
    assert torch.equal(model[2].weight, weights)
    train(model, optimizer)
    settle(ticket, model)
    assert wrong(ticket, model) == 0 and not torch.equal(model[2].weight, weights), "and the optimizer trains it"
    model = save_and_load(copy.deepcopy(model))
    train(model, sgd(model.parameters()))
    settle(ticket, model)
    assert wrong(ticket, model) == 0


class TwoHalfSteps(torch.optim.Optimizer):
    """Sharpness-aware minimization (Foret et al. 2021) as it is used in loops: up, backward, down; never `step`."""

    def __init__(self, parameters: Iterable[Tensor], rate: float):
        super().__init__(parameters, {"lr": rate})
        self.base = torch.optim.SGD(self.param_groups, rate, momentum=0.9)

    @torch.no_grad()
    def up(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["move"] = 0.05 * parameter.grad
            parameter.add_(self.state[parameter]["move"])

    @torch.no_grad()
    def down(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.sub_(self.state[parameter]["move"])
        self.base.step()

    def step(self, closure: Any = None) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("form", FORMS)
def test_sharpness_aware_half_steps_are_held(ticket: Ticket, form: str):
    model, optimizer = hold(ticket, form, lambda p: TwoHalfSteps(p, 0.1))
    for _ in range(3):
        for half in (optimizer.up, optimizer.down):
            optimizer.zero_grad()
            backward(model)
            half()
            assert wrong(ticket, model) == 0


class ScheduleFree(torch.optim.Optimizer):
    """Schedule-free SGD (Defazio et al. 2024): trains at y, evaluates at x, which eval() puts into the parameters."""

    def __init__(self, parameters: Iterable[Tensor], rate: float):
        super().__init__(parameters, {"lr": rate, "k": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        group["k"] += 1
        for y in group["params"]:
            z = self.state[y].setdefault("z", y.clone())
            y.lerp_(z, 1 / group["k"]).sub_(y.grad, alpha=group["lr"] * 0.1)
            z.sub_(y.grad, alpha=group["lr"])

    @torch.no_grad()
    def eval(self) -> None:
        for y in self.param_groups[0]["params"]:
            y.lerp_(self.state[y]["z"], 1 - 1 / 0.9)


@pytest.mark.parametrize("form", FORMS)
def test_the_averages_of_a_schedule_free_optimizer_are_held(ticket: Ticket, form: str):
    model, optimizer = hold(ticket, form, lambda p: ScheduleFree(p, 0.1))
    train(model, optimizer)
    assert wrong(ticket, model) == 0
    optimizer.eval()
    model(IMAGES)
    assert wrong(ticket, model) == 0


class Mixing(torch.optim.Optimizer):
    """Moves every weight by the sum of the gradient's magnitudes, as a matrix-wise update like Muon's may."""

    def __init__(self, parameters: Iterable[Tensor]):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.data = parameter.data - 0.01 * parameter.grad.abs().sum()  # which no version counter notices


def test_after_a_step_of_the_held_optimizer_weights_are_masked_whatever_it_does(zero_ticket: Ticket):
    model, optimizer = hold(zero_ticket, "hooks", Mixing)
    train(model, optimizer)
    assert wrong(zero_ticket, model) == 0


@pytest.mark.parametrize("read", ["forward", "state_dict"])
def test_a_step_of_another_optimizer_is_undone_by_the_next_forward_pass_and_in_the_state(
    zero_ticket: Ticket, read: str
):
    """Gradients do not tell this optimizer what is pruned; the weights in use and those saved are masked all the same."""
    model, optimizer = copy.deepcopy(hold(zero_ticket, "hooks", Mixing))
    train(model, optimizer, 1)
    assert wrong(zero_ticket, model) > 0
    if read == "forward":
        held = build()
        held.load_state_dict(model.state_dict())
        assert torch.equal(held(IMAGES), model(IMAGES))
    else:
        state = model.state_dict()
        assert not any(state[name][~mask].any() for name, mask in zero_ticket.masks.items())
    assert wrong(zero_ticket, model) == 0


class Accelerated(torch.optim.Optimizer):
    """Wraps an optimizer as accelerate does: a subclass that never calls `super().__init__`."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> None:
        self.optimizer.step()


def test_an_optimizer_wrapped_by_accelerate_is_held(ticket: Ticket):
    model, optimizer = hold(ticket, "hooks", lambda p: Accelerated(sgd(p)), steps=2)
    train(model, optimizer)
    assert wrong(ticket, model) == 0


def test_what_is_no_optimizer_is_refused(zero_ticket: Ticket):
    with pytest.raises(lthrun.UserError, match="optimizer: found list; hold needs a torch.optim.Optimizer"):
        zero_ticket.hold(build(), [])


def test_a_part_is_held(zero_ticket: Ticket):
    """A frozen first layer, and two optimizers."""
    model = build()
    zero_ticket.apply(model)
    last = sgd(model[2].parameters())
    with pytest.raises(
        lthrun.UserError, match=r"does not train these tensors of the model: 0.weight, 0.bias; name those"
    ):
        zero_ticket.hold(model, last)
    zero_ticket.hold(model, last, only=["2.*"])
    train(model, last)
    assert wrong(zero_ticket, model) == 0
    first = sgd(model[0].parameters())
    zero_ticket.hold(model, first, only=["0.*"])
    train(model, first)
    assert wrong(zero_ticket, model) == 0
    with pytest.raises(lthrun.UserError, match="only: found 5.*; no masked tensor has such a name, they are 0.weight"):
        zero_ticket.hold(model, only=["5.*"])


@pytest.mark.parametrize("form", FORMS)
def test_remove_ends_a_hold_and_leaves_the_values(zero_ticket: Ticket, form: str):
    model = build()
    zero_ticket.apply(model)
    optimizer = sgd(model.parameters())
    held = zero_ticket.hold(model, *([optimizer] if form == "hooks" else []))
    train(model, optimizer)
    weights = model[2].weight.detach().clone()
    held.remove()
    assert type(model[2]) is nn.Conv2d and torch.equal(model[2].weight, weights)
    assert set(model.state_dict()) == set(build().state_dict())
    train(model, optimizer)
    assert wrong(zero_ticket, model) > 0


def test_a_second_parametrization_is_refused(zero_ticket: Ticket):
    model, optimizer = hold(zero_ticket, "parametrization")
    for arguments in ((), (optimizer,)):
        with pytest.raises(lthrun.UserError, match=r"no such tensor: 0.weight .*; the model has parametrized tensors"):
            zero_ticket.hold(model, *arguments)


def test_a_layer_with_other_parametrizations_is_not_saved_in_part(zero_ticket: Ticket):
    model, _ = hold(zero_ticket, "parametrization")
    nn.utils.parametrizations.weight_norm(model[2], "bias", dim=None)
    with pytest.raises(RuntimeError, match="other parametrizations"):
        save_and_load(model)


@pytest.mark.parametrize("form", FORMS)
def test_a_shared_weight_is_held_in_every_layer_that_has_it(form: str):
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    mask = torch.rand(4, 4) > 0.5
    ticket = Ticket({"0.weight": mask}, {"0.weight": torch.rand(4, 4)}, {})
    ticket.apply(model)
    optimizer = sgd(model.parameters())
    ticket.hold(model, *([optimizer] if form == "hooks" else []))
    model, optimizer = copy.deepcopy((model, optimizer))
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.rand(3, 4)).square().sum().backward()
        optimizer.step()
    assert not model[0].weight[~mask].any() and not model[2].weight[~mask].any()


def test_attention_that_bypasses_its_layer_is_held_by_parametrization_only():
    model = nn.MultiheadAttention(4, 2)
    mask = {"out_proj.weight": torch.rand(4, 4) > 0.5}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ticket = Ticket(mask, state, {})
    ticket.apply(model)
    optimizer = sgd(model.parameters())
    with pytest.raises(lthrun.UserError, match=r"without a forward pass of their layer: out_proj.weight"):
        ticket.hold(model, optimizer)
    ticket.hold(model)
    x = torch.rand(3, 2, 4)
    for _ in range(3):
        optimizer.zero_grad()
        model(x, x, x)[0].square().sum().backward()
        optimizer.step()
    assert not model.out_proj.weight[~mask["out_proj.weight"]].any()


@pytest.mark.parametrize("form", FORMS)
def test_two_forward_passes_before_one_backward_pass(zero_ticket: Ticket, form: str):
    """Masking in a forward pass must not spoil the graph of an earlier one."""
    model, optimizer = hold(zero_ticket, form)
    (model(IMAGES) + model(IMAGES / 2)).square().sum().backward()
    optimizer.step()
    assert wrong(zero_ticket, model) == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_functional_call_is_masked_and_leaves_the_hold_alone(zero_ticket: Ticket, form: str):
    model = build()
    zero_ticket.apply(model)
    optimizer = sgd(model.parameters())
    held = zero_ticket.hold(model, *([optimizer] if form == "hooks" else []))
    ones = {name: torch.ones_like(tensor) for name, tensor in model.named_parameters()}
    expected = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter.fill_(1.0)
    assert torch.allclose(torch.func.functional_call(model, ones, IMAGES), expected(IMAGES))
    torch.func.grad(lambda values: torch.func.functional_call(model, values, IMAGES).sum())(ones)
    train(model, optimizer)
    assert wrong(zero_ticket, model) == 0
    held.remove()
    train(model, optimizer)
    assert wrong(zero_ticket, model) > 0


@pytest.mark.parametrize("form", FORMS)
def test_a_held_model_moves_to_another_type(zero_ticket: Ticket, form: str):
    model, optimizer = hold(zero_ticket, form)
    model.double()
    nn.functional.cross_entropy(model(IMAGES.double()), LABELS).backward()
    optimizer.step()
    assert wrong(zero_ticket, model) == 0 and model[0].weight.dtype == torch.float64


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "AveragedModel": AveragedModel,
    "compile": lambda model: torch.compile(model, backend="eager"),
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_model_takes_a_ticket(zero_ticket: Ticket, wrapper: str, form: str):
    model = WRAPPERS[wrapper](build())
    zero_ticket.apply(model)
    inner = getattr(model, "module", model)
    inner = getattr(inner, "_orig_mod", inner)
    assert torch.equal(inner[5].weight, zero_ticket.state["5.weight"])
    optimizer = sgd(inner.parameters())
    zero_ticket.hold(model, *([optimizer] if form == "hooks" else []))
    train(model, optimizer)
    assert wrong(zero_ticket, inner) == 0


def test_a_distributed_model_is_held_before_it_is_wrapped_or_with_its_optimizer(
    zero_ticket: Ticket, process_group: None
):
    model = build()
    zero_ticket.apply(model)
    wrapped = nn.parallel.DistributedDataParallel(model)
    zero_ticket.apply(wrapped)
    with pytest.raises(lthrun.UserError, match="hold the model first, or with its optimizer"):
        zero_ticket.hold(wrapped)
    optimizer = sgd(wrapped.parameters())
    zero_ticket.hold(wrapped, optimizer)
    train(wrapped, optimizer)
    assert wrong(zero_ticket, model) == 0
    model, optimizer = hold(zero_ticket, "parametrization")
    train(nn.parallel.DistributedDataParallel(model), optimizer)
    assert wrong(zero_ticket, model) == 0


def test_a_sharded_model_is_refused_in_one_line(zero_ticket: Ticket, process_group: None):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = build()
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    for use in (zero_ticket.apply, zero_ticket.hold, lambda m: zero_ticket.hold(m, sgd(m.parameters()))):
        with pytest.raises(lthrun.UserError, match=r"the model is sharded, .* found DTensor: 0.weight, 0.bias"):
            use(model)


@pytest.fixture
def process_group(tmp_path: Any) -> Iterable[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
