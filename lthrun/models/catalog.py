"""The models that are offered: torchvision's, without pretrained weights, and those for CIFAR and MNIST."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lthrun.models.table import MODELS

if TYPE_CHECKING:
    from torch import nn


def from_torchvision(name: str, classes: int, channels: int, image_size: int) -> nn.Module:
    """torchvision's model of that name, without pretrained weights.

    They are built for three channels. With one, the weights of the first convolution are the sums over the three: the
    network is then the same function of a gray image as the one with three channels is of that image in RGB.
    """
    from torch import nn
    from torchvision.models import get_model

    model: nn.Module = get_model(name, weights=None, num_classes=classes)
    if channels == 1:
        first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        first.in_channels, first.weight = 1, nn.Parameter(first.weight.detach().sum(1, keepdim=True))
    return model


# A model is listed here once tests/models/test_models.py has trained it on a batch at 64 pixels.
TORCHVISION = {
    "resnet18": "ResNet-18 (He et al. 2016)",
    "resnet34": "ResNet-34 (He et al. 2016)",
    "resnet50": "ResNet-50 (He et al. 2016)",
    "resnet101": "ResNet-101 (He et al. 2016)",
    "wide_resnet50_2": "Wide ResNet-50-2 (Zagoruyko & Komodakis 2016)",
    "resnext50_32x4d": "ResNeXt-50 32x4d (Xie et al. 2017)",
    "vgg11_bn": "VGG-11 with batch norm (Simonyan & Zisserman 2015)",
    "vgg13_bn": "VGG-13 with batch norm (Simonyan & Zisserman 2015)",
    "vgg16_bn": "VGG-16 with batch norm (Simonyan & Zisserman 2015)",
    "vgg19_bn": "VGG-19 with batch norm (Simonyan & Zisserman 2015)",
    "densenet121": "DenseNet-121 (Huang et al. 2017)",
    "densenet169": "DenseNet-169 (Huang et al. 2017)",
    "mobilenet_v2": "MobileNetV2 (Sandler et al. 2018)",
    "mobilenet_v3_small": "MobileNetV3 small (Howard et al. 2019)",
    "mobilenet_v3_large": "MobileNetV3 large (Howard et al. 2019)",
    "efficientnet_b0": "EfficientNet-B0 (Tan & Le 2019)",
    "efficientnet_b1": "EfficientNet-B1 (Tan & Le 2019)",
    "convnext_tiny": "ConvNeXt-T (Liu et al. 2022)",
    "convnext_small": "ConvNeXt-S (Liu et al. 2022)",
}
DEEP = ("vgg", "densenet", "convnext")  # they halve the image five times
for _name, _about in TORCHVISION.items():
    _make = partial(from_torchvision, _name)
    MODELS.add(_name, f"torchvision's {_about}", _make, smallest=32 if _name.startswith(DEEP) else 16)


@MODELS.register("The ResNet-20 for CIFAR (He et al. 2016, section 4.2)")
def resnet20(classes: int, channels: int, image_size: int) -> nn.Module:
    from lthrun.models.resnet20 import ResNet20

    return ResNet20(classes, channels)


def frankle_carbin(
    stages: Sequence[int], widths: Sequence[int], classes: int, channels: int, image_size: int
) -> nn.Module:
    """A network of Frankle & Carbin 2019 ("The Lottery Ticket Hypothesis"), figure 2, without batch norm.

    For each of `stages` two 3x3 convolutions of that many filters and max pooling; then linear layers of `widths`
    outputs, and one of `classes`. Weights start from the Gaussian Glorot distribution (Glorot & Bengio 2010), biases
    from zero. With other classes, channels or image sizes the first and the last layers have other shapes.
    """
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


for _name, _title, _stages, _widths in (
    ("lenet300", "LeNet-300-100 for MNIST (Frankle & Carbin 2019, figure 2): linear layers alone.", (), (300, 100)),
    ("conv2", "Conv-2 for CIFAR-10 (Frankle & Carbin 2019, figure 2).", (64,), (256, 256)),
    ("conv4", "Conv-4 for CIFAR-10 (Frankle & Carbin 2019, figure 2).", (64, 128), (256, 256)),
    ("conv6", "Conv-6 for CIFAR-10 (Frankle & Carbin 2019, figure 2).", (64, 128, 256), (256, 256)),
):
    MODELS.add(_name, _title, partial(frankle_carbin, _stages, _widths))
