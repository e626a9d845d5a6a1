"""fasterai's lottery-ticket tutorial, timed on request; run by an interpreter that has fastai and fasterai.

The first line on stdin holds the settings. Each further line asks for a number of training steps (null: a validation)
with a number of workers (null: fastai's default). Each is answered by one line on stdout.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from fastai.vision import all as fastai  # type: ignore[import-not-found]
from fasterai.core.criteria import large_final  # type: ignore[import-not-found]
from fasterai.core.schedule import Schedule, sched_oneshot  # type: ignore[import-not-found]
from fasterai.sparse.sparsify_callback import SparsifyCallback  # type: ignore[import-not-found]


class PruneOnce(SparsifyCallback):  # type: ignore[misc]
    """The tutorial's callback, which prunes in the first warm-up round and keeps that mask."""

    def before_fit(self) -> None:
        if not hasattr(self, "sparsifier"):
            super().before_fit()

    def after_fit(self) -> None:
        pass


class Clock(fastai.Callback):  # type: ignore[misc]
    """Times training and validation; a fit does not validate, as validation is timed by itself."""

    order = 1000
    seconds = 0.0

    def start(self) -> None:
        self.started = time.perf_counter()

    def stop(self) -> None:
        if fastai.torch.cuda.is_available():
            fastai.torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.started

    def before_train(self) -> None:
        self.start()

    def after_train(self) -> None:
        self.stop()

    def before_validate(self) -> None:
        if not self.is_validating:
            raise fastai.CancelValidException
        self.start()

    def after_validate(self) -> None:
        if self.is_validating:
            self.stop()


def is_cat(name: str) -> bool:
    return name[0].isupper()


class Tutorial:
    """A learner with a number of workers."""

    def __init__(self, settings: dict[str, Any], workers: int | None):
        folder = Path(settings["folder"])
        dls = fastai.ImageDataLoaders.from_name_func(
            folder,
            fastai.get_image_files(folder),
            is_cat,
            valid_pct=settings["validation"],
            seed=42,
            bs=settings["batch_size"],
            item_tfms=fastai.Resize(settings["size"]),
            device=fastai.torch.device(settings["device"]),
            **({} if workers is None else {"num_workers": workers}),
        )
        arch = getattr(fastai, settings["model"])
        self.learn = fastai.vision_learner(dls, arch, pretrained=False, metrics=fastai.accuracy)
        self.learn.unfreeze()
        self.learn.remove_cb(fastai.ProgressCallback)
        self.learn.logger = fastai.noop
        self.prune_once = PruneOnce(
            settings["sparsity"] / 100,
            granularity="weight",
            context="local",
            criteria=large_final,
            schedule=Schedule(sched_oneshot),
            lth=True,
        )
        self.learning_rate = settings["rate"]
        self.clock = Clock()
        self.learn.add_cb(self.clock)

    def measure_seconds(self, steps: int | None) -> float:
        """Seconds of so many training steps, or of a validation."""
        self.clock.is_validating = steps is None
        if steps is None:
            self.learn.validate()
        else:
            self.learn.dls.train.n = steps * self.learn.dls.train.bs
            self.learn.fit(1, self.learning_rate, cbs=self.prune_once)
        return float(self.clock.seconds)


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # fasterai prints
    warnings.filterwarnings("ignore")
    settings = json.loads(sys.stdin.readline())
    print(json.dumps({"ready": True}), file=answers, flush=True)
    tutorials: dict[int | None, Tutorial] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            workers = request["workers"]
            if workers not in tutorials:
                tutorials[workers] = Tutorial(settings, workers)
            answer: dict[str, Any] = {"seconds": tutorials[workers].measure_seconds(request["steps"])}
        except Exception as error:  # reported, so that the other implementations continue
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
