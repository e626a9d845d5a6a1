"""Re-estimation of batch norm's running statistics, for weights that were not trained with them.

The estimate is the mean over batches of each batch's statistics. On CUDA the forward pass is recorded as a graph, which
cannot hold the factor 1 / n of a cumulative average, as it changes from batch to batch. So there the statistics of the
batches are summed on the device and divided at the end; without graphs PyTorch's own cumulative average is used, whose
numbers differ from that in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lthrun.training.cuda_graphs import GraphedFunction


class BatchNormRecalibration:
    """Recalibrates a model; its forward pass is recorded once and replayed for all further weights of the model.

    Args:
        forward: runs the model on a batch of images.
        graph: records the pass; None on a device without graphs.
    """

    def __init__(self, model: nn.Module, forward: Callable[[Tensor], object], graph: GraphedFunction | None):
        self._forward, self._graph = forward, graph
        self._norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        self._statistics = [s for norm in self._norms for s in (norm.running_mean, norm.running_var) if s is not None]
        self._sums = [torch.zeros_like(s, dtype=torch.float64) for s in self._statistics] if graph else []

    @torch.no_grad()
    def run(self, model: nn.Module, images: Iterable[Tensor]) -> None:
        """Estimate the statistics by one pass of batches; the model is in training mode afterwards."""
        if not self._norms:
            return
        momenta = [norm.momentum for norm in self._norms]
        for norm in self._norms:
            norm.reset_running_stats()
        model.train()
        if self._graph:
            self._average_sums(self._graph, images)
        else:
            self._average_cumulatively(images)
        for norm, momentum in zip(self._norms, momenta, strict=True):
            norm.momentum = momentum

    def _average_cumulatively(self, images: Iterable[Tensor]) -> None:
        for count, batch in enumerate(images, 1):
            for norm in self._norms:
                norm.momentum = 1 / count  # what momentum None means, without reading the count from the device
            self._forward(batch)

    def _average_sums(self, graph: GraphedFunction, images: Iterable[Tensor]) -> None:
        for norm in self._norms:
            norm.momentum = 1.0  # the running statistics are those of the last batch
        for total in self._sums:
            total.zero_()
        count = 0
        for batch in images:
            graph(self._add_statistics, batch)
            graph.rounds += 1
            count += 1
        for statistic, total in zip(self._statistics, self._sums, strict=True):
            statistic.copy_(total / count)

    def _add_statistics(self, batch: Tensor) -> None:
        self._forward(batch)
        for total, statistic in zip(self._sums, self._statistics, strict=True):
            total += statistic
