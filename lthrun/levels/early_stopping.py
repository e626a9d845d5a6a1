"""The network of lowest validation loss, which is tested beside the last one (Frankle & Carbin 2019, section 2).

It is chosen by the interim evaluations alone. Its state stays on the device and in checkpoints until the level ends.
"""

from __future__ import annotations

import json

from torch import nn

from lthrun.records import InterimEvaluation
from lthrun.sparsity.masks import Tensors
from lthrun.training import state

KEY = "early_stop"


class EarlyStop:
    """The state of a model at its interim evaluation of lowest loss so far: parameters and buffers.

    Attributes:
        evaluation: that evaluation, the first of equal ones; None before any.
    """

    def __init__(self) -> None:
        self.evaluation: InterimEvaluation | None = None
        self._state: Tensors = {}

    def observe(self, evaluation: InterimEvaluation, model: nn.Module) -> None:
        """Keep the model's state if the loss of its evaluation is the lowest."""
        if self.evaluation is None or evaluation.loss < self.evaluation.loss:
            self.evaluation = evaluation
            self._state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def restore(self, model: nn.Module) -> None:
        """Load the kept state."""
        state.load_model_state(model, self._state)

    def to_checkpoint(self) -> tuple[Tensors, dict[str, str]]:
        """Tensors and metadata of a checkpoint."""
        if self.evaluation is None:
            return {}, {}
        return state.join_parts(**{KEY: state.copy_to_cpu(self._state)}), {KEY: json.dumps(vars(self.evaluation))}

    @classmethod
    def from_checkpoint(cls, tensors: Tensors, metadata: dict[str, str]) -> EarlyStop:
        found = cls()
        if KEY in metadata:
            found.evaluation = InterimEvaluation(**json.loads(metadata[KEY]))
            found._state = state.select_prefix(KEY, tensors)
        return found
