"""Training as PyTorch's tutorials do it: files are opened, decoded and resized anew in every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lthrun.levels.context import RunContext

Loader = DataLoader[Any]


class Files(Dataset[Any]):
    """Image files and their labels."""

    def __init__(self, paths: list[Path], labels: list[int], transform: Callable[[Image.Image], Tensor]):
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[i]) as image:
            return self.transform(image.convert("RGB")), self.labels[i]


class Plain:
    """One model and optimizer, whatever the number of workers that feed it."""

    def __init__(self, model: nn.Module, context: RunContext, folder: Path):
        self.device, self.batch_size = context.device, context.config.training.batch_size
        self.model = model.to(self.device)
        training = context.config.training
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), training.learning_rate, weight_decay=training.weight_decay
        )
        self.loss = nn.CrossEntropyLoss()
        size, store = context.store.size, context.store
        crops = {"train": v2.RandomCrop(size), "valid": v2.CenterCrop(size)}
        self.files = {
            side: Files(
                [folder / store.names[i] for i in ids],
                [store.labels[i] for i in ids],
                v2.Compose(
                    [v2.Resize(size), crops[side], v2.ToImage(), v2.ToDtype(torch.float32, True), v2.ToPureTensor()]
                ),
            )
            for side, ids in (("train", context.train), ("valid", context.valid))
        }

    def loaders(self, workers: int) -> tuple[Loader, list[int], Loader]:
        """Training batches in an order that is drawn turn by turn, that order, and validation batches. Workers stay."""
        order: list[int] = []
        how: dict[str, Any] = {
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": self.device.type == "cuda",
        }
        train: Loader = DataLoader(self.files["train"], self.batch_size, sampler=order, drop_last=True, **how)
        return train, order, DataLoader(self.files["valid"], 4 * self.batch_size, **how)

    def training(self, train: Loader, order: list[int], valid: Loader) -> Callable[[int], float]:
        def turn(steps: int) -> float:
            order[:] = torch.randperm(len(self.files["train"]))[: steps * self.batch_size].tolist()
            began = time.perf_counter()
            self.model.train()
            total = 0.0
            for images, labels in train:
                self.optimizer.zero_grad()
                loss = self.loss(self.model(images.to(self.device)), labels.to(self.device))
                loss.backward()
                self.optimizer.step()
                total += loss.item()  # waits for the device
            return time.perf_counter() - began

        return turn

    def validation(self, train: Loader, order: list[int], valid: Loader) -> Callable[[], float]:
        @torch.no_grad()
        def turn() -> float:
            began = time.perf_counter()
            self.model.eval()
            total, right = 0.0, 0
            for images, labels in valid:
                images, labels = images.to(self.device), labels.to(self.device)
                logits = self.model(images)
                total += self.loss(logits, labels).item() * len(labels)
                right += int((logits.argmax(1) == labels).sum())
            return time.perf_counter() - began

        return turn
