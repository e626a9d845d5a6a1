"""The ResNet-20 for CIFAR of He et al. 2016 ("Deep Residual Learning for Image Recognition", section 4.2)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters (option A): every `stride`-th pixel, and zeros for
    the added channels."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return F.relu(inner + shortcut)


class ResNet20(nn.Module):
    """A stem, three stages of three blocks with 16, 32 and 64 filters, the mean over the image, a linear layer.

    Convolutions start from Kaiming's normal distribution (He et al. 2015), without bias.
    """

    def __init__(self, classes: int, channels: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.blocks = nn.Sequential(*(Block(i, o, 1 if i == o else 2) for i, o in pairwise(widths)))
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, classes] of images [batch, channels, side, side]."""
        features: Tensor = self.blocks(F.relu(self.bn(self.conv(x))))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits
