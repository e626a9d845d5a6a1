"""Schedules: how the sparsity grows from level to level."""


def iterative(sparsity: float, steps: int) -> list[float]:
    """The target of each level in percent: `sparsity` · k / `steps` for k = 0 … `steps`, unrounded."""
    return [sparsity * k / steps for k in range(steps + 1)]
