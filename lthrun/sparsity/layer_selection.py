"""Which layers are pruned, and what goes with a pruned filter."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from lthrun.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from lthrun.config.pruning import LayerSelection
    from lthrun.sparsity.masks import Tensors

SHORTCUTS = ("downsample", "shortcut")


def select_prunable(model: nn.Module, where: LayerSelection) -> list[str]:
    """Names of the tensors that are pruned, in the model's order: the weights of convolutions and linear layers
    that `where` asks for. Biases and batch norm never are.

    Raises:
        UserError: a pattern fits no layer, or no layer is left.
    """
    from torch import nn

    kinds = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    convolutions = [name for name, module in kinds.items() if isinstance(module, nn.Conv2d)]
    classifier = next((name for name in reversed(kinds) if isinstance(kinds[name], nn.Linear)), None)
    for key, patterns in (("include", where.include), ("exclude", where.exclude)):
        check_patterns(f"pruning.{key}", patterns, kinds)

    def chosen(name: str) -> bool:
        if name == classifier:
            wanted = where.classifier
        else:
            wanted = ("conv" if name in convolutions else "linear") in where.types
            if name in convolutions[:1]:
                wanted = wanted and where.first
            if any(word in name for word in SHORTCUTS):
                wanted = wanted and where.shortcuts
        return wanted and fits(name, where.include) and not fits(name, where.exclude)

    found = [f"{name}.weight" for name in kinds if chosen(name)]
    if not found:
        key, patterns = ("exclude", where.exclude) if where.exclude else ("include", where.include)
        raise UserError(
            f"pruning.{key}: found {', '.join(patterns)}; no layer is left to prune (types: {', '.join(where.types)}, "
            f"first: {where.first}, shortcuts: {where.shortcuts}, classifier: {where.classifier})"
        )
    return found


def fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check_patterns(key: str, patterns: Iterable[str], names: Iterable[str]) -> None:
    known = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UserError(f"{key}: found {pattern}; no layer has such a name, they are {', '.join(known)}")


def make_channel_masks(model: nn.Module, masks: Tensors) -> Tensors:
    """Masks of what goes with a pruned filter, or its channel would still put out a constant: its bias, and γ and β
    of a batch norm that directly follows.

    A batch norm that stands elsewhere, as before its convolution in a DenseNet, is left alone.
    """
    from torch import fx, nn

    found: Tensors = {}
    modules = dict(model.named_modules())
    for node in fx.symbolic_trace(model).graph.nodes:
        mask = masks.get(f"{node.target}.weight") if node.op == "call_module" else None
        if mask is None or not isinstance(modules[node.target], nn.Conv2d):
            continue
        alive = mask.flatten(1).any(1)
        if modules[node.target].bias is not None:
            found[f"{node.target}.bias"] = alive.clone()
        for user in node.users:
            follower = modules.get(user.target) if user.op == "call_module" else None
            if isinstance(follower, nn.BatchNorm2d) and follower.affine:
                found |= {f"{user.target}.weight": alive, f"{user.target}.bias": alive.clone()}
    return found
