"""Is the study in a regime in which its question can be answered at all? Checked before the verdict.

Four regimes make any word misleading: the networks learn nothing, they overfit, they are trained too briefly, or the
sparsity is so low that random masks do as well. Each check gives at most one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from lthrun.analysis.arm_results import ArmResult, Design, ResultTable
from lthrun.analysis.intervals import CONFIDENCE, wilson_interval
from lthrun.analysis.questions import build_question
from lthrun.analysis.seed_means import FEWEST_SEEDS, estimate
from lthrun.analysis.verdict import choose_word, summarize
from lthrun.records import EpochRecord

LOSS_SHARE = 0.2
"""The share of the validation loss below which the training loss is that of a network that overfits."""
LAST_PART, LONGEST_PART = 0.1, 0.2
"""The share of a training over which its accuracy should no longer rise, and up to which evaluations may lie apart."""


def check_regime(table: ResultTable, design: Design) -> list[str]:
    """The sentences that apply, of the dense network and the random masks at the primary sparsity."""
    dense = table.select("dense", design.primary)
    return [
        *warn_majority(dense, design),
        *warn_overfitted(dense),
        *warn_undertrained(dense, design),
        *warn_no_failure(table, design),
    ]


def warn_majority(dense: Sequence[ArmResult], design: Design) -> Iterator[str]:
    """Where the interval of at least half of the dense networks reaches down to the majority rate."""
    n = design.n_final
    lows = [(wilson_interval(round(r.final_accuracy * n), n)[0], design.majority_rates[r.seed]) for r in dense]
    count = sum(low <= rate for low, rate in lows)
    if count and 2 * count >= len(dense):
        yield (
            f"At the majority rate: in {count} of {len(dense)} seeds the dense network is not shown to be more "
            "accurate than always giving the most common answer. The comparison is a weak test."
        )


def warn_overfitted(dense: Sequence[ArmResult]) -> Iterator[str]:
    """Where at least half of the dense networks overfit."""
    rises = [measure_loss_rise(result.epochs) for result in dense if is_overfitted(result.last)]
    if rises and 2 * len(rises) >= len(dense):
        yield (
            f"Overfitted: in {len(rises)} of {len(dense)} seeds the dense network's training loss is below a fifth "
            f"of its validation loss, which ends {100 * fmean(rises):.0f} % above its minimum. The final accuracies "
            "say how networks overfit: the comparison is a weak test."
        )


def is_overfitted(last: EpochRecord) -> bool:
    return last.train_loss is not None and last.train_loss < LOSS_SHARE * last.valid_loss


def measure_loss_rise(epochs: Sequence[EpochRecord]) -> float:
    """How far the validation loss ends above its minimum, as a share of it."""
    lowest = min(epoch.valid_loss for epoch in epochs)
    return epochs[-1].valid_loss / max(lowest, 1e-9) - 1


def warn_undertrained(dense: Sequence[ArmResult], design: Design) -> Iterator[str]:
    """Where the accuracy of the dense network still rises over the last part of its training."""
    rises = [late for result in dense if (late := measure_late_rise(result)) is not None]
    if len(rises) < FEWEST_SEEDS:
        return
    rise = estimate([100 * points for points, _ in rises], 100 / design.n_valid)
    low, high = rise.interval(CONFIDENCE)
    if low > 0:
        part = max(part for _, part in rises)
        yield (
            f"Undertrained: the accuracy of the dense network still rises by {rise.mean:.2f} points ({low:.2f} to "
            f"{high:.2f}) over the last {100 * part:.0f} % of its training. Longer training may change the answer."
        )


def measure_late_rise(result: ArmResult) -> tuple[float, float] | None:
    """The rise of the accuracy (0 to 1) over the last part of a training, and that part; None without an evaluation.

    The part is a tenth, or up to a fifth where the evaluations lie apart.
    """
    last = result.evaluations[-1]
    for before in reversed(result.evaluations):
        part = (last.step - before.step) / result.steps
        if part >= LAST_PART:
            return (last.accuracy - before.accuracy, part) if part <= LONGEST_PART else None
    return None


def warn_no_failure(table: ResultTable, design: Design) -> Iterator[str]:
    """Where random masks do as well as the dense network."""
    sparsity = design.primary
    question = build_question(table, design, "random-mask", "dense", "accuracy", sparsity)
    if len(question.seeds) < FEWEST_SEEDS:
        return
    word = choose_word(summarize(question).interval(1 - design.look.level()), design.margin)
    if word in ("wins", "matches"):
        verb = "match" if word == "matches" else "beat"
        yield (
            f"No arm can fail here: at {sparsity:g} % random masks {verb} the dense network, so that this says nothing "
            "about tickets. Compare at a higher sparsity."
        )
