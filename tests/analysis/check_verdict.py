"""`make check-verdict`: the error rates and the power of the verdict in simulated studies, as Markdown.

Exits with 1 where a promise fails: "wins" or "loses" in 5 % ± 1 of planned studies without a difference, "matches" just
beyond the margin in at most 2.5 % + 0.5. Skewed differences, t(3) and collapses are measured without a promise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from tests.analysis.simulation import (
    BEYOND_MARGIN,
    DISTRIBUTIONS,
    NORMAL,
    PRACTICES,
    Practice,
    check_forecast,
    simulate_collapse,
    simulate_differences,
)

DEVIATIONS = (1.29, 3.0)  # points: the Pets study, and a noisier one
PROMISED = ("normal", "discrete")


def main(studies: int) -> int:
    print(f"{studies:,} studies per case; margin 1 point; shares in % of studies.\n")
    failed: list[str] = []
    for deviation in DEVIATIONS:
        print(f"**Normal differences of deviation {deviation:g} points, by true difference (points)**\n")
        print_table(
            ["practice", "excludes 0 at 0", "wins or loses at 0", "matches at 0", "matches at −1.001", "wins at 1",
             "wins at 2", "seeds at 0", "at 0.5", "at 1", "at 2"],
            (practice_row(practice, deviation, studies) for practice in PRACTICES),
        )  # fmt: skip
    print("**Errors by distribution, deviation 1.29 points: excludes 0 at 0 / matches at −1.001**\n")
    planned = [practice for practice in PRACTICES if practice.is_planned]
    rows = []
    for distribution in DISTRIBUTIONS:
        cells = []
        for practice in planned:
            none, beyond = simulate_differences(practice, distribution, 1.29, (0, BEYOND_MARGIN), studies, 1)
            cells.append(f"{percent(none.excludes_zero)} / {percent(beyond.matches)}")
            is_kept = abs(none.excludes_zero - 0.05) <= 0.01 and beyond.matches <= 0.03
            if distribution.name in PROMISED and not is_kept:
                failed.append(f"{distribution.name}, {practice.name}: {cells[-1]}")
        rows.append([distribution.name, *cells])
    print_table(["differences", *(practice.name for practice in planned)], rows)
    print("**No difference but for a collapse by 30 points in 5 % of the seeds: wins / matches / loses / undecided**\n")
    rows = []
    for practice in PRACTICES:
        rates = simulate_collapse(practice, 1.29, studies, 2)
        rows.append([practice.name, " / ".join(map(percent, rates[:4])), f"{rates.mean_seeds:.1f}"])
    print_table(["practice", "words", "seeds"], rows)
    print("**Undecided studies of five seeds: the chance of a verdict in a fresh study of the forecast size (80 %)**\n")
    few = max(100, studies // 50)
    truths = (0.0, 0.5, 1.0, 2.0)
    print_table(
        ["deviation", *(f"at {truth:g}" for truth in truths)],
        ([f"{d:g}", *(percent(check_forecast(truth, d, few, 3)) for truth in truths)] for d in DEVIATIONS),
    )
    for failure in failed:
        print(f"promise broken: {failure}", file=sys.stderr)
    return 1 if failed else 0


def practice_row(practice: Practice, deviation: float, studies: int) -> list[str]:
    truths = (0, BEYOND_MARGIN, 0.5, 1, 2)
    none, beyond, half, one, two = simulate_differences(practice, NORMAL, deviation, truths, studies, 0)
    shares = [none.excludes_zero, none.wins + none.loses, none.matches, beyond.matches, one.wins, two.wins]
    seeds = [f"{rates.mean_seeds:.1f}" for rates in (none, half, one, two)]
    return [practice.name, *map(percent, shares), *seeds]


def print_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"| {' | '.join(heading)} |\n|{' --- |' * len(heading)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
