"""The tables of the package: complete and without torch at import; each entry names what it uses."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lthrun.sparsity.supermask_methods import SUPERMASKS
from lthrun.sparsity.supermasks import Bernoulli, EdgePopup


def test_importing_the_package_fills_the_tables_and_does_not_import_torch():
    code = (
        "import sys, lthrun.sparsity; from lthrun.registry import TABLES; "
        "print('torch' in sys.modules, *sorted(name for name, table in TABLES.items() if table))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown == ["False", "criteria", "granularities", "pruned", "resets", "schedules", "supermasks"]


@pytest.mark.parametrize(("method", "kind"), [("edge-popup", EdgePopup), ("bernoulli", Bernoulli)])
def test_a_learned_method_makes_the_module_that_masks_a_weight(method: str, kind: type):
    weight = torch.ones(4, 4)
    module = SUPERMASKS[method](weight, 8, torch.Generator().manual_seed(0))
    assert type(module) is kind and module.scores.shape == module.mask().shape == weight.shape


def test_only_edge_popup_uses_the_sparsity():
    """A learned probability decides bernoulli's sparsity, and a ticket's mask has its own rules."""
    assert {name: entry.uses for name, entry in SUPERMASKS.items()} == {
        "lth": (),
        "edge-popup": ("sparsity",),
        "bernoulli": (),
    }
