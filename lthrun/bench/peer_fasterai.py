"""fasterai's lottery-ticket tutorial, turn by turn; run by an interpreter that has fastai and fasterai.

The first line on stdin holds the settings; each further one asks for training steps (or, if null, for a validation)
with a number of workers (null: fastai's own). Each is answered by one line.
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


class Held(SparsifyCallback):  # type: ignore[misc]
    """The tutorial's callback, which prunes once, in the turn that does not count, and then holds its mask."""

    def before_fit(self) -> None:
        if not hasattr(self, "sparsifier"):
            super().before_fit()

    def after_fit(self) -> None:
        pass


class Clock(fastai.Callback):  # type: ignore[misc]
    """Times training and validation; a fit ends without validating, which has a turn of its own."""

    order = 1000
    seconds = 0.0

    def begin(self) -> None:
        self.began = time.perf_counter()

    def end(self) -> None:
        if fastai.torch.cuda.is_available():
            fastai.torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.began

    def before_train(self) -> None:
        self.begin()

    def after_train(self) -> None:
        self.end()

    def before_validate(self) -> None:
        if not self.validates:
            raise fastai.CancelValidException
        self.begin()

    def after_validate(self) -> None:
        if self.validates:
            self.end()


def is_cat(name: str) -> bool:
    return name[0].isupper()


class Tutorial:
    """A learner with so many workers."""

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
        self.held = Held(
            settings["sparsity"] / 100,
            granularity="weight",
            context="local",
            criteria=large_final,
            schedule=Schedule(sched_oneshot),
            lth=True,
        )
        self.rate = settings["rate"]
        self.clock = Clock()
        self.learn.add_cb(self.clock)

    def turn(self, steps: int | None) -> float:
        """Seconds of so many training steps, or of a validation."""
        self.clock.validates = steps is None
        if steps is None:
            self.learn.validate()
        else:
            self.learn.dls.train.n = steps * self.learn.dls.train.bs
            self.learn.fit(1, self.rate, cbs=self.held)
        return float(self.clock.seconds)


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # fasterai prints
    warnings.filterwarnings("ignore")
    settings = json.loads(sys.stdin.readline())
    print(json.dumps({"ready": True}), file=answers, flush=True)
    tutorials: dict[int | None, Tutorial] = {}
    for line in sys.stdin:
        question = json.loads(line)
        try:
            workers = question["workers"]
            if workers not in tutorials:
                tutorials[workers] = Tutorial(settings, workers)
            answer: dict[str, Any] = {"seconds": tutorials[workers].turn(question["steps"])}
        except Exception as error:  # whatever it is, the others go on
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
