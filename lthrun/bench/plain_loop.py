"""Training as PyTorch's tutorials do it: image files are opened, decoded and resized again in every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lthrun.levels.context import RunContext


class ImageFiles(Dataset[Any]):
    """Image files and their labels."""

    def __init__(self, paths: list[Path], labels: list[int], transform: Callable[[Image.Image], Tensor]):
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[i]) as image:
            return self.transform(image.convert("RGB")), self.labels[i]


class Loaders(NamedTuple):
    """Training batches in the order that the list `order` holds, and validation batches."""

    train: DataLoader[Any]
    order: list[int]
    valid: DataLoader[Any]


class PlainLoop:
    """One model and optimizer for every number of workers."""

    def __init__(self, model: nn.Module, context: RunContext, folder: Path):
        training, size, store = context.config.training, context.store.size, context.store
        self.device, self.batch_size = context.device, training.batch_size
        self.model = model.to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), training.learning_rate, weight_decay=training.weight_decay
        )
        self.loss = nn.CrossEntropyLoss()
        crops = {"train": v2.RandomCrop(size), "valid": v2.CenterCrop(size)}
        self.files = {
            side: ImageFiles(
                [folder / store.names[i] for i in ids],
                [store.labels[i] for i in ids],
                v2.Compose(
                    [v2.Resize(size), crops[side], v2.ToImage(), v2.ToDtype(torch.float32, True), v2.ToPureTensor()]
                ),
            )
            for side, ids in (("train", context.split.train), ("valid", context.split.valid))
        }

    def make_loaders(self, workers: int) -> Loaders:
        """Loaders whose workers stay alive between epochs."""
        order: list[int] = []
        options: dict[str, Any] = {
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": self.device.type == "cuda",
        }
        train = DataLoader(self.files["train"], self.batch_size, sampler=order, drop_last=True, **options)
        return Loaders(train, order, DataLoader(self.files["valid"], 4 * self.batch_size, **options))

    def train(self, loaders: Loaders, steps: int) -> float:
        """Seconds of so many training steps."""
        loaders.order[:] = torch.randperm(len(self.files["train"]))[: steps * self.batch_size].tolist()
        started = time.perf_counter()
        self.model.train()
        total = 0.0
        for images, labels in loaders.train:
            self.optimizer.zero_grad()
            loss = self.loss(self.model(images.to(self.device)), labels.to(self.device))
            loss.backward()
            self.optimizer.step()
            total += loss.item()  # waits for the device
        return time.perf_counter() - started

    @torch.no_grad()
    def validate(self, loaders: Loaders) -> float:
        """Seconds of a validation."""
        started = time.perf_counter()
        self.model.eval()
        total, right = 0.0, 0
        for images, labels in loaders.valid:
            images, labels = images.to(self.device), labels.to(self.device)
            logits = self.model(images)
            total += self.loss(logits, labels).item() * len(labels)
            right += int((logits.argmax(1) == labels).sum())
        return time.perf_counter() - started
