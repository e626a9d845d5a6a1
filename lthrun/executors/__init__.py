"""Who trains the levels of a graph: local threads and processes, or a Ray cluster."""

from lthrun.executors import local, on_ray  # noqa: F401
from lthrun.executors.table import EXECUTORS

__all__ = ["EXECUTORS"]
