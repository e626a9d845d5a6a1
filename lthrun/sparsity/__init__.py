"""Criteria, granularities, schedules, masks and tickets: pure functions of tensors, without files and without torch
at import."""

# The tables are complete as soon as any module of the package is imported.
from lthrun.sparsity import criteria, granularities, measured_criteria, resets, schedules, supermask_methods

__all__ = ["criteria", "granularities", "measured_criteria", "resets", "schedules", "supermask_methods"]
