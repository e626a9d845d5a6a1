"""The networks of Frankle & Carbin 2019, "The Lottery Ticket Hypothesis", figure 2.

LeNet-300-100 is for MNIST, Conv-2, Conv-4 and Conv-6 (scaled-down VGGs) are for CIFAR-10. Weights start from the
Gaussian Glorot distribution (Glorot & Bengio 2010), biases from zero; there is no batch norm. With other classes,
channels or image sizes the first and the last layers have other shapes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lthrun.models.table import MODELS

if TYPE_CHECKING:
    from torch import nn


@MODELS.register("LeNet-300-100 for MNIST (Frankle & Carbin 2019, figure 2): linear layers alone.")
def lenet300(classes: int, channels: int, image_size: int) -> nn.Module:
    return make_network((), (300, 100), classes, channels, image_size)


@MODELS.register("Conv-2 for CIFAR-10 (Frankle & Carbin 2019, figure 2).")
def conv2(classes: int, channels: int, image_size: int) -> nn.Module:
    return make_network((64,), (256, 256), classes, channels, image_size)


@MODELS.register("Conv-4 for CIFAR-10 (Frankle & Carbin 2019, figure 2).")
def conv4(classes: int, channels: int, image_size: int) -> nn.Module:
    return make_network((64, 128), (256, 256), classes, channels, image_size)


@MODELS.register("Conv-6 for CIFAR-10 (Frankle & Carbin 2019, figure 2).")
def conv6(classes: int, channels: int, image_size: int) -> nn.Module:
    return make_network((64, 128, 256), (256, 256), classes, channels, image_size)


def make_network(
    stages: Sequence[int], widths: Sequence[int], classes: int, channels: int, image_size: int
) -> nn.Module:
    """For each of `stages` two 3x3 convolutions of that many filters and max pooling; then linear layers of `widths`
    outputs, and one of `classes`."""
    from torch import nn

    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, filters in enumerate(stages):
        for number in (2 * stage + 1, 2 * stage + 2):
            layers[f"conv{number}"] = nn.Conv2d(channels, filters, 3, padding=1)
            layers[f"conv_relu{number}"] = nn.ReLU()
            channels = filters
        layers[f"pool{stage + 1}"] = nn.MaxPool2d(2)
        image_size //= 2
    layers["flatten"] = nn.Flatten()
    inputs = channels * image_size**2
    for number, outputs in enumerate((*widths, classes), 1):
        layers[f"fc{number}"] = nn.Linear(inputs, outputs)
        if number <= len(widths):
            layers[f"relu{number}"] = nn.ReLU()
        inputs = outputs
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(layers)
