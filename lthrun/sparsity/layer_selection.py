"""Which layers are pruned, and what is pruned together with a filter."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from lthrun.errors import UserError, list_names

if TYPE_CHECKING:
    from torch import nn

    from lthrun.config.pruning import LayerSelection
    from lthrun.sparsity.masks import Tensors

SHORTCUTS = ("downsample", "shortcut")


def select_prunable(model: nn.Module, selection: LayerSelection) -> list[str]:
    """Names of the tensors to prune, in the model's order: the weights of the convolutions and linear layers that
    `selection` names, never biases or batch norm. Of a model without convolutions `types` is linear.

    Raises:
        UserError: a pattern matches no layer, or no layer is left.
    """
    from torch import nn

    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    convolutions = [name for name, module in layers.items() if isinstance(module, nn.Conv2d)]
    types = selection.types if convolutions else ("linear",)
    classifier = next((name for name in reversed(layers) if isinstance(layers[name], nn.Linear)), None)
    for key, patterns in (("include", selection.include), ("exclude", selection.exclude)):
        check_patterns(f"pruning.{key}", patterns, layers)

    def is_selected(name: str) -> bool:
        if name == classifier:
            selected = selection.classifier
        else:
            selected = ("conv" if name in convolutions else "linear") in types
            if name in convolutions[:1]:
                selected = selected and selection.first
            if any(word in name for word in SHORTCUTS):
                selected = selected and selection.shortcuts
        return selected and matches_any(name, selection.include) and not matches_any(name, selection.exclude)

    names = [f"{name}.weight" for name in layers if is_selected(name)]
    check_shared(model, layers, names)
    if not names:
        key, patterns = ("exclude", selection.exclude) if selection.exclude else ("include", selection.include)
        raise UserError(
            f"pruning.{key}: found {', '.join(patterns)}; no layer is left to prune (types: "
            f"{', '.join(selection.types)}, first: {selection.first}, shortcuts: {selection.shortcuts}, classifier: "
            f"{selection.classifier})"
        )
    return names


def check_shared(model: nn.Module, layers: Iterable[str], names: Iterable[str]) -> None:
    """Refuse to prune a weight that is a parameter of two layers: a mask is one of a layer."""
    owners: dict[int, list[str]] = {}
    for name in layers:
        owners.setdefault(id(model.get_parameter(f"{name}.weight")), []).append(name)
    for name in names:
        shared = owners[id(model.get_parameter(name))]
        if len(shared) > 1:
            raise UserError(
                f"model.name: {' and '.join(shared)} share one weight, which cannot be pruned: leave them out with "
                "pruning.exclude"
            )


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check_patterns(key: str, patterns: Iterable[str], names: Iterable[str], kind: str = "layer") -> None:
    """Refuse a pattern that matches none of `names`, which are those of a `kind` of thing.

    Raises:
        UserError: names the key and the pattern.
    """
    names = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"{key}: found {pattern}; no {kind} has such a name, they are {list_names(names)}")


def make_channel_masks(model: nn.Module, masks: Tensors) -> Tensors:
    """Masks of what is pruned together with a filter: its bias, and γ and β of a batch norm that directly follows.
    Without them its channel would still output a constant.

    Only a batch norm that reads the convolution's output is masked, so not one that precedes its convolution as in a
    DenseNet.
    """
    from torch import fx, nn

    channel_masks: Tensors = {}
    modules = dict(model.named_modules())
    for node in fx.symbolic_trace(model).graph.nodes:
        mask = masks.get(f"{node.target}.weight") if node.op == "call_module" else None
        if mask is None or not isinstance(modules[node.target], nn.Conv2d):
            continue
        kept = mask.flatten(1).any(1)
        if modules[node.target].bias is not None:
            channel_masks[f"{node.target}.bias"] = kept.clone()
        for user in node.users:
            follower = modules.get(user.target) if user.op == "call_module" else None
            if isinstance(follower, nn.BatchNorm2d) and follower.affine:
                channel_masks |= {f"{user.target}.weight": kept, f"{user.target}.bias": kept.clone()}
    return channel_masks
