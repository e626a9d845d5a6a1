"""Where the tickets' sparsity lies, and how much of it different seeds have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from lthrun.sparsity.masks import Tensors

Counts = Mapping[str, Sequence[int]]


def layers(records: Sequence[Counts]) -> list[dict[str, Any]]:
    """Percent pruned per layer over the seeds, from each seed's [pruned, all] per tensor."""
    found = []
    for name, (_, of) in records[0].items():
        shares = [100 * record[name][0] / of for record in records]
        found.append(
            {
                "layer": name.removesuffix(".weight"),
                "pruned": sum(shares) / len(shares),
                "lowest": min(shares),
                "highest": max(shares),
                "of": of,
            }
        )
    return found


def overlap(masks: Sequence[Tensors]) -> dict[str, Any]:
    """How many of the kept weights two seeds' masks have in common: intersection over union, all layers together.

    `chance` is what masks of these per-layer densities come to when their positions are drawn at random.
    """
    pairs = list(combinations(masks, 2))
    shares = [shared(one, other) for one, other in pairs]
    return {
        "pairs": len(pairs),
        "overlap": sum(shares) / len(shares),
        "lowest": min(shares),
        "highest": max(shares),
        "chance": sum(by_chance(one, other) for one, other in pairs) / len(pairs),
    }


def shared(one: Tensors, other: Tensors) -> float:
    both = sum(int((one[name] & other[name]).sum()) for name in one)
    either = sum(int((one[name] | other[name]).sum()) for name in one)
    return both / either


def by_chance(one: Tensors, other: Tensors) -> float:
    """Expected intersection over expected union, of n places of which a and b are kept: ab / n and a + b - ab / n."""
    both, either = 0.0, 0.0
    for name, mask in one.items():
        n, a, b = mask.numel(), int(mask.sum()), int(other[name].sum())
        both += a * b / n
        either += a + b - a * b / n
    return both / either
