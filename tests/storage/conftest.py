"""A finished run that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lthrun.experiments import Result
from tests.conftest import run, tiny_resnet18

TICKET = {"rewind.to": "1ep", "pruning.steps": 1}


@pytest.fixture(scope="package")
def finished(small: Callable, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """An output root with a ticket of two levels, of the tiny network."""
    out = tmp_path_factory.mktemp("finished")
    with tiny_resnet18():
        return out, run(small("ticket", **TICKET), out)
