"""Criteria, granularities, schedules and masks: pure functions of tensors, no files and no consoles."""
