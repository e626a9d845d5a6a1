"""A level's key holds exactly what an entry reads: two settings of it give two keys, and nothing else changes one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthrun.experiments import load_config
from lthrun.levels.environment import list_environment_differences
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import plan_chain
from lthrun.registry import TABLES, Entry
from lthrun.training.learning_rates import LEARNING_RATES
from lthrun.training.optimizers import OPTIMIZERS

CONDITIONS = Conditions({"images": "x"}, 92, "cpu", "float32")
# Values of every setting that an entry may use, by its key.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "training.betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)).map(list),
    "training.eps": st.floats(1e-12, 1e-2),
    "training.momentum": st.floats(0.001, 0.99),  # nesterov needs one above 0
    "training.nesterov": st.booleans(),
    "training.weight_decay": st.floats(0, 1),
    "training.milestones": st.lists(st.floats(1, 99), min_size=1, max_size=3),
    "training.gamma": st.floats(0.01, 0.99),
    "training.final": st.floats(0.001, 0.9),
    "pruning.batches": st.integers(1, 100),
}
KEYED = {"optimizers", "learning-rates", "criteria", "granularities", "resets", "pruned", "models"}
CASES = [
    (table.key, name, f"{table.key.partition('.')[0]}.{key}")
    for table in TABLES.values()
    if table.name in KEYED
    for name, entry in table.items()
    for key in entry.uses
]


def keys(**settings: Any) -> list[str]:
    config: Any = load_config(None, "ticket", options=settings)
    return [level.key for level in plan_chain(config, config.pruning, config.rewind, CONDITIONS)]


def test_every_setting_that_an_entry_uses_has_values_here():
    assert {used for _, _, used in CASES} == VALUES.keys()


@pytest.mark.parametrize(("key", "name", "used"), CASES)
@given(data=st.data())
def test_two_settings_of_what_an_entry_uses_give_two_keys(key: str, name: str, used: str, data: st.DataObject):
    one = data.draw(VALUES[used])
    other = data.draw(VALUES[used].filter(lambda value: value != one))
    first, second = (keys(**{key: name, used: value})[-1] for value in (one, other))
    assert first != second


@pytest.mark.parametrize(
    ("key", "name"), sorted({(key, name) for key, name, _ in CASES} | {("training.schedule", "constant")})
)
@given(data=st.data())
def test_a_key_never_changes_with_what_is_not_read(key: str, name: str, data: st.DataObject):
    table = next(table for table in TABLES.values() if table.key == key)
    section = key.partition(".")[0]
    read = {f"{section}.{used}" for used in table[name].uses}
    # The other table of that section reads what it reads by default.
    read |= {f"training.{used}" for used in OPTIMIZERS["adamw"].uses if key != "training.optimizer"}
    used = data.draw(st.sampled_from(sorted(VALUES.keys() - read)))
    assert keys(**{key: name}) == keys(**{key: name, used: data.draw(VALUES[used])})


@pytest.mark.parametrize(
    "key", ["training.optimizer", "training.schedule", "pruning.criterion", "rewind.kept", "model.name"]
)
def test_two_names_of_a_table_give_two_keys(key: str):
    table = next(table for table in TABLES.values() if table.key == key)
    made = [keys(**{key: name})[-1] for name in table]
    assert len(set(made)) == len(table)


@pytest.mark.parametrize("table", sorted(KEYED))
def test_an_entry_of_another_version_gives_another_key(table: str, monkeypatch: pytest.MonkeyPatch):
    found = TABLES[table]
    section, _, field = found.key.partition(".")
    name = str(getattr(getattr(load_config(None, "ticket"), section), field))
    before = keys(**{"training.schedule": "cosine"})[-1] if table == "learning-rates" else keys()[-1]
    name = "cosine" if table == "learning-rates" else name
    entry = found[name]
    changed = type(entry)(**{**vars(entry), "version": entry.version + 1})
    monkeypatch.setitem(found, name, changed)
    assert before != (keys(**{"training.schedule": "cosine"}) if table == "learning-rates" else keys())[-1]


def test_a_new_optimizer_takes_no_levels_of_adamw(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(OPTIMIZERS, "lion", Entry(lambda model, training: None, "", uses=("betas",)))
    assert not set(keys()) & set(keys(**{"training.optimizer": "lion"}))


class Recording:
    """Settings that note which of them are read."""

    def __init__(self, settings: object):
        self.settings, self.read = settings, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.settings, name)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_an_optimizer_reads_what_it_declares(name: str):
    training = Recording(load_config(None, "baseline").training)
    OPTIMIZERS[name](nn.Linear(2, 2), training)
    assert training.read == {*OPTIMIZERS[name].uses, "learning_rate"}


@pytest.mark.parametrize("name", sorted(LEARNING_RATES))
def test_a_learning_rate_schedule_reads_what_it_declares(name: str):
    training = Recording(load_config(None, "baseline").training)
    for progress in (0.0, 0.1, 0.6, 1.0):
        LEARNING_RATES[name](progress, training)
    assert training.read == set(LEARNING_RATES[name].uses)


def test_environments_are_compared_key_by_key():
    ours = {"torch": "2.14.1", "threads": 2}
    assert list_environment_differences({}, ours) == []
    assert list_environment_differences(ours, ours) == []
    assert list_environment_differences({"torch": "2.13.0", "threads": 2}, ours) == ["torch 2.13.0 (here 2.14.1)"]
