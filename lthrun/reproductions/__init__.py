"""Reproductions: the published claims of a source, and what lthrun measures instead. One file and one entry each.

Importing this package fills the table `REPRODUCTIONS`; it does not import torch.
"""

from __future__ import annotations

# isort: off
# In the order of lists; importing an entry enters it into REPRODUCTIONS.
from lthrun.reproductions import frankle_carbin_2019_lenet, zhou_2019_supermask  # noqa: F401
from lthrun.reproductions import renda_2020_resnet20, fasterai_tutorial, null  # noqa: F401

# isort: on
from lthrun.reproductions.reproduction import REPRODUCTIONS

__all__ = ["REPRODUCTIONS"]
