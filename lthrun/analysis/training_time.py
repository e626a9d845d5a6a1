"""The other half of the hypothesis: how soon an arm is as accurate as the dense network."""

from __future__ import annotations

import math
import statistics

from lthrun.analysis.arm_results import Design, ResultTable
from lthrun.analysis.study_records import Reach


def measure_reach(table: ResultTable, design: Design) -> list[Reach]:
    """When each arm first has the accuracy at which the dense network of its seed ends.

    Both accuracies are of the same validation images, those of the interim evaluations. A seed that never reaches it
    counts as later than the end in the median: without it the arm would look faster the more often it fails. An arm
    that is never trained has no row.
    """
    rows = []
    for arm in design.pairings:
        for sparsity in design.sparsities[:1] if arm == "dense" else design.sparsities:
            pairs = [pair for pair in table.pair(arm, "dense", sparsity) if pair[0].steps]
            steps = [one.first_step_with(dense.evaluations[-1].accuracy) for one, dense in pairs]
            if not steps:
                continue
            median = statistics.median(math.inf if step is None else step / design.epoch_steps for step in steps)
            rows.append(
                Reach(
                    arm=arm,
                    sparsity=None if arm == "dense" else sparsity,
                    reached=sum(step is not None for step in steps),
                    total=len(steps),
                    median_epochs=median if median < math.inf else None,
                )
            )
    return rows
