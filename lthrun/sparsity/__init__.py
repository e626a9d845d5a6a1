"""Criteria, granularities, schedules and masks: pure functions of tensors, no files and no consoles."""

# Every table is whole as soon as anything of the package is imported.
from lthrun.sparsity import criteria, granularity, measured, resets, schedules

__all__ = ["criteria", "granularity", "measured", "resets", "schedules"]
