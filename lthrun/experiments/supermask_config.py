"""The config of a supermask: how the mask is found, and which untrained weights it is evaluated on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_serializer, model_validator

from lthrun.config.base import LearnedMask, flatten
from lthrun.config.fields import Section, named_in, refuse
from lthrun.config.pruning import LayerSelection, Pruning, Rewind, SparsitySettings
from lthrun.experiments.ticket import TicketConfig

LEARNED: dict[str, dict[str, dict[str, Any]]] = {
    "edge-popup": {
        "supermask": {"weights": "signed_constant"},
        "training": {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "cosine", "weight_decay": 1e-4},
        "pruning": {"classifier": True},
    },
    "bernoulli": {
        "supermask": {"weights": "signed_constant"},
        "training": {"optimizer": "adamw", "learning_rate": 0.3, "schedule": "cosine", "weight_decay": 0.0},
        "pruning": {"classifier": True},
    },
}
"""The defaults of the methods that learn a mask, where they differ."""


class Supermask(Section):
    method: named_in("supermasks") = "lth"  # type: ignore[valid-type]
    """lth: the ticket's mask; edge-popup (Ramanujan et al. 2020) and bernoulli (Zhou et al. 2019): learned masks."""
    weights: Literal["initial", "sign_constant", "signed_constant", "kaiming_normal"] = "initial"
    """The untrained weights that a mask is evaluated on. lth: initial, those that its levels start from, or what
    rewind.kept calls sign_constant (Zhou et al. 2019). Learned masks: signed_constant, whose signs are random, or
    kaiming_normal; with edge-popup both are scaled by the kept share."""
    batch_norm: Literal["recalibrate", "initial", "trained"] = "recalibrate"
    """The running statistics that a mask is evaluated with: estimated for the masked untrained weights; mean 0 and
    variance 1; or those of the training."""


def unused_keys(method: str) -> dict[str, set[str]]:
    """Keys that a method which learns its mask does not use, by section."""
    used = set(LayerSelection.model_fields) | ({"sparsity"} if method == "edge-popup" else set())
    return {"pruning": set(Pruning.model_fields) - used, "rewind": set(Rewind.model_fields)}


class SupermaskConfig(TicketConfig):
    """Find a mask, by training a ticket or by learning it, and evaluate it on weights that were never trained."""

    experiment: Literal["supermask"] = "supermask"  # type: ignore[assignment]
    supermask: Supermask = Supermask()

    @property
    def identity_extras(self) -> dict[str, Any]:
        return self.supermask.model_dump()

    @property
    def layer_selection(self) -> LayerSelection:
        return self.pruning

    @property
    def mask_settings(self) -> SparsitySettings | None:
        return self.pruning if self.supermask.method == "lth" else None

    @property
    def learned_mask(self) -> LearnedMask | None:
        method = self.supermask.method
        sparsity = self.pruning.sparsity if method == "edge-popup" else 0.0
        return (
            LearnedMask(method=method, sparsity=sparsity, weights=self.supermask.weights) if method != "lth" else None
        )

    @property
    def evaluated_reset(self) -> str:
        """What the kept weights are reset to before a mask is evaluated: a rule of `rewind.kept`."""
        return "sign_constant" if self.supermask.weights == "sign_constant" else self.rewind.kept

    def defaults(self) -> dict[str, Any]:
        if self.supermask.method == "lth":
            return super().defaults()
        own = SupermaskConfig.model_validate({"supermask": {"method": self.supermask.method}}).model_dump(mode="json")
        return {key: value for key, value in flatten(own).items() if key != "supermask.method"}

    @model_validator(mode="before")
    @classmethod
    def _method_decides_keys_and_defaults(cls, tree: Any) -> Any:
        def section(name: str) -> dict[str, Any]:
            found = tree.get(name) if isinstance(tree, dict) else None
            return found if isinstance(found, dict) else {}

        method = section("supermask").get("method", "lth")
        if not isinstance(method, str) or method not in LEARNED:
            return tree
        for name, keys in unused_keys(method).items():
            for key in sorted(keys & set(section(name))):
                expected = (
                    "the sparsity of a bernoulli mask is a result, not a setting: leave it out"
                    if key == "sparsity"
                    else f"method {method} learns its mask and does not use it: leave it out"
                )
                raise refuse(f"{name}.{key}", section(name)[key], expected)
        own = LEARNED[method]
        return tree | {name: {**own[name], **section(name)} for name in own if isinstance(tree.get(name, {}), dict)}

    @model_validator(mode="after")
    def _weights_fit_method(self) -> SupermaskConfig:
        method, weights = self.supermask.method, self.supermask.weights
        fitting = ("initial", "sign_constant") if method == "lth" else ("signed_constant", "kaiming_normal")
        if weights not in fitting:
            raise refuse("supermask.weights", weights, f"with method {method} it must be {' or '.join(fitting)}")
        if weights == "sign_constant" and self.rewind.kept != "rewind":
            raise refuse("supermask.weights", weights, "rewind.kept chooses the weights already: use one of the two")
        return self

    @model_validator(mode="after")
    def _mask_matters(self) -> SupermaskConfig:
        if self.rewind.pruned == "frozen" and self.evaluated_reset == "rewind":
            raise refuse(
                "rewind.pruned",
                "frozen",
                "with rewind.kept: rewind, kept and pruned weights would both be the initial ones, whatever the mask: "
                "use zero, or kept: sign_constant, shuffle or redraw",
            )
        return self

    @model_serializer(mode="wrap")
    def _without_keys_of_other_methods(self, plain: Any) -> dict[str, Any]:
        tree: dict[str, Any] = plain(self)
        if self.supermask.method == "lth":
            return tree
        for name, keys in unused_keys(self.supermask.method).items():
            tree[name] = {key: value for key, value in tree[name].items() if key not in keys}
        return {name: section for name, section in tree.items() if section != {}}
