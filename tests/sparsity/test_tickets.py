"""Tickets in a user's own code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import lthrun
from lthrun.sparsity.tickets import FORMAT, Ticket
from lthrun.storage.tensor_files import write_tensors
from tests.conftest import tiny


@pytest.fixture
def ticket() -> Ticket:
    torch.manual_seed(3)
    model = tiny(2)
    masks = {f"{i}.weight": torch.rand_like(model[i].weight) > 0.5 for i in (0, 3)}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, mask in masks.items():
        state[name][~mask] = 0
    return Ticket(masks, state, {"format": FORMAT, "model": "tiny"})


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5):
    """A user's own loop; yields after every step."""
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 3, 12, 12)), torch.randint(2, (8,))).backward()
        optimizer.step()
        yield step


def test_apply_copies_masked_weights_and_buffers_into_a_model(ticket: Ticket):
    model = tiny(2)
    ticket.apply(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, ticket.state[name])


def test_apply_masks_even_where_the_state_does_not(ticket: Ticket):
    full = {name: torch.ones_like(value) for name, value in ticket.state.items()}
    model = tiny(2)
    Ticket(ticket.masks, full, {}).apply(model)
    assert torch.equal(model[0].weight != 0, ticket.masks["0.weight"])


@pytest.mark.parametrize(
    "make", [lambda p: torch.optim.AdamW(p, lr=0.1), lambda p: torch.optim.SGD(p, 0.5, momentum=0.9)]
)
def test_hold_keeps_pruned_weights_at_zero_in_a_users_loop(ticket: Ticket, make):
    model = tiny(2)
    optimizer = make(model.parameters())
    for _ in train(model, optimizer):  # momentum accumulated before the ticket
        pass
    ticket.apply(model)
    ticket.hold(model, optimizer)
    before = model[0].weight.clone()
    for _ in train(model, optimizer):
        for name, mask in ticket.masks.items():
            assert not model.get_parameter(name)[~mask].any()
    assert not torch.equal(before, model[0].weight), "the kept weights train"


def test_without_hold_pruned_weights_train(ticket: Ticket):
    model = tiny(2)
    ticket.apply(model)
    for _ in train(model, torch.optim.AdamW(model.parameters(), lr=0.1)):
        pass
    assert model[0].weight[~ticket.masks["0.weight"]].any()


def test_hold_ends_on_remove(ticket: Ticket):
    model = tiny(2)
    ticket.apply(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    ticket.hold(model, optimizer).remove()
    for _ in train(model, optimizer):
        pass
    assert model[0].weight[~ticket.masks["0.weight"]].any()


def test_a_mismatch_names_tensors_and_shapes_and_leaves_the_model_unchanged(ticket: Ticket):
    model = tiny(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(lthrun.UserError) as error:
        ticket.apply(model)
    assert "8.weight is (3, 8) in the model, (2, 8) in the ticket" in str(error.value)
    assert "8.bias is (3,) in the model, (2,) in the ticket" in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(
        lthrun.UserError, match="0.weight is missing in the model; 0.bias is missing in the ticket|missing"
    ):
        ticket.apply(nn.Linear(2, 2))
    with pytest.raises(lthrun.UserError, match=r"no such tensor: 0.weight \(4, 3, 3, 3\)"):
        linear = nn.Linear(2, 2)
        ticket.hold(linear, torch.optim.SGD(linear.parameters(), 0.1))


def test_an_optimizer_of_another_model_is_refused(ticket: Ticket):
    with pytest.raises(lthrun.UserError, match=r"does not train these tensors of the model: 0.weight, 3.weight"):
        ticket.hold(tiny(2), torch.optim.SGD(tiny(2).parameters(), 0.1))


def test_sparsity_is_computed_from_the_masks(ticket: Ticket):
    pruned = sum(int((~mask).sum()) for mask in ticket.masks.values())
    assert ticket.sparsity == pytest.approx(100 * pruned / (108 + 288))


def test_a_file_round_trip_keeps_everything(ticket: Ticket, tmp_path: Path):
    path = tmp_path / "ticket.safetensors"
    write_tensors(path, ticket.to_tensors(), ticket.metadata)
    loaded = lthrun.load_ticket(path)
    assert loaded.metadata == ticket.metadata
    assert all(torch.equal(loaded.masks[n], m) for n, m in ticket.masks.items())
    assert all(torch.equal(loaded.state[n], s) for n, s in ticket.state.items())


def test_other_files_are_refused(ticket: Ticket, tmp_path: Path):
    path = tmp_path / "t.safetensors"
    with pytest.raises(lthrun.UserError, match="t.safetensors: no such file"):
        lthrun.load_ticket(path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(lthrun.UserError, match="not a readable safetensors file"):
        lthrun.load_ticket(path)
    write_tensors(path, {"weight": torch.zeros(2)}, {})
    with pytest.raises(lthrun.UserError, match="not a ticket"):
        lthrun.load_ticket(path)
    write_tensors(path, ticket.to_tensors(), {"format": "99"})
    with pytest.raises(lthrun.UserError, match="ticket format 99; this lthrun reads format 1"):
        lthrun.load_ticket(path)
    write_tensors(path, {"mask/a": torch.ones(2), "state/a": torch.ones(2)}, {"format": FORMAT})
    with pytest.raises(lthrun.UserError, match="mask/a must be boolean"):
        lthrun.load_ticket(path)


def test_apply_skips_the_tensors_of_another_head(ticket: Ticket):
    model = tiny(10)
    before = model[8].weight.detach().clone()
    with pytest.raises(lthrun.UserError, match=r"8.bias is \(10,\) in the model, \(2,\) in the ticket, 8.weight is"):
        ticket.apply(model)
    with pytest.raises(lthrun.UserError, match=r"skip: found fc.\*; no tensor has such a name, they are 0.weight, "):
        ticket.apply(model, skip=["fc.*"])
    ticket.apply(model, skip=["8.*"])
    assert torch.equal(model[8].weight, before)
    assert torch.equal(model[3].weight, ticket.state["3.weight"])


def test_apply_skips_a_masked_tensor_and_what_only_the_model_has(ticket: Ticket):
    model = nn.Sequential(*tiny(2), nn.Linear(2, 2))
    before = model[3].weight.detach().clone()
    ticket.apply(model, skip=["9.*", "3.weight"])
    assert torch.equal(model[3].weight, before) and torch.equal(model[0].weight, ticket.state["0.weight"])


def test_a_refusal_lists_five_names_and_counts_the_others(ticket: Ticket):
    with pytest.raises(lthrun.UserError) as error:
        ticket.apply(nn.Sequential(nn.Identity(), tiny(2)))
    text = str(error.value)
    assert text.count("is missing in") == 5 and text.endswith(" and 23 more") and len(text) < 300


def test_a_module_called_module_is_a_wrapper_only_where_the_ticket_has_no_such_name():
    model = nn.Module()
    model.module = tiny(2)
    state = {f"module.{name}": torch.ones_like(tensor) for name, tensor in tiny(2).state_dict().items()}
    Ticket({}, state, {}).apply(model)
    assert torch.equal(model.module[0].weight, torch.ones(4, 3, 3, 3))
