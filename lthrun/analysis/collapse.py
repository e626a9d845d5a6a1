"""What no test can see: a collapse that the seeds of a study have not met.

Sparse networks fail by collapse: most seeds train well and a few hardly at all. If a collapse is rare, a handful of
seeds misses it and an interval over them cannot show it. So beside every word stand the worst seed, the seeds beyond
five margins, and the rate of collapse that the seeds still allow.
"""

from __future__ import annotations

import math

from lthrun.analysis.intervals import CONFIDENCE
from lthrun.analysis.questions import Question
from lthrun.analysis.study_records import Extremes

EXTREME_MARGINS = 5
"""A seed counts as extreme where its difference is larger than so many margins."""


def find_extremes(question: Question) -> Extremes:
    """The worst seed, the extreme ones, and the rate of collapse that is still possible.

    A collapse is a difference more than five margins below 0; an extreme difference above 0 is one of the other arm.
    With a margin of 0 there is no such size.
    """
    worst, worst_seed = min(zip(question.differences, question.seeds, strict=True))
    limit = EXTREME_MARGINS * question.margin or math.inf
    by_seed = dict(zip(question.seeds, question.differences, strict=True))
    collapsed = sum(difference < -limit for difference in by_seed.values())
    return Extremes(
        worst_seed=worst_seed,
        worst=worst,
        beyond_margins=[seed for seed, difference in by_seed.items() if abs(difference) > limit],
        collapse_rate_limit=limit_rate(collapsed, len(by_seed)) if limit < math.inf else None,
    )


def limit_rate(events: int, n: int) -> float:
    """The highest rate (0 to 1) that is compatible with so many events of n at 95 % (Clopper & Pearson 1934).

    One-sided and exact: with it, n draws have so few events in 5 % of all cases. For none of 5 it is 45 %.
    """
    from scipy.special import betaincinv

    return 1.0 if events == n else float(betaincinv(events + 1, n - events, CONFIDENCE))
