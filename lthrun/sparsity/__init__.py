"""Criteria, granularities, schedules and masks: pure functions of tensors, no files and no consoles."""

# Every table is whole as soon as anything of the package is imported.
from lthrun.sparsity import criteria, resets, schedules
from lthrun.sparsity import granularities as granularity
from lthrun.sparsity import measured_criteria as measured

__all__ = ["criteria", "granularity", "measured", "resets", "schedules"]
