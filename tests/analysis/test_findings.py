"""The findings of a study, from results made by hand."""

from __future__ import annotations

import pytest

from lthrun.analysis.findings import analyze_study
from lthrun.analysis.study_records import Reach, StudyFindings
from tests.analysis.studies import PAIRINGS, make_design, make_study


def analyze(ticket: float, control: float, seeds: int = 3) -> StudyFindings:
    return analyze_study(make_study(ticket, control, seeds), make_design(seeds))


def test_a_winning_ticket():
    """Differences 5.0, 5.1, 5.2 points: mean 5.1, and t(0.975, 2) · 0.1 / √3 = 0.248."""
    findings = analyze(0.75, 0.60)
    primary, *secondary = findings.comparisons
    assert primary.is_primary
    assert (primary.arm, primary.against, primary.measure) == ("ticket", "dense", "accuracy")
    assert primary.mean == pytest.approx(5.1)
    assert primary.interval == pytest.approx((5.1 - 0.248, 5.1 + 0.248), abs=1e-3)
    assert findings.verdict.word == "wins" and findings.verdict.winning_ticket is True
    first, second, *_ = findings.verdict.sentences
    assert first == (
        "The ticket at 50 % wins: after the same training it is more accurate than the dense network, "
        "+5.10 points (95 % interval +4.85 to +5.35, 3 seeds)."
    )
    assert second.startswith("It is a winning ticket")
    assert not any(row.is_primary for row in secondary) and all(row.p_holm is not None for row in secondary)
    assert {(row.arm, row.against, row.measure) for row in secondary} == {
        ("ticket", "dense", "balanced_accuracy"), ("ticket", "dense", "early_stopping"),
        ("ticket", "random-mask", "accuracy"), ("ticket", "random-init", "accuracy"),
        ("supermask", "majority rate", "accuracy"),
    }  # fmt: skip


def test_findings_are_json_and_back():
    findings = analyze(0.75, 0.60)
    assert StudyFindings.model_validate_json(findings.model_dump_json()) == findings


def test_a_ticket_that_random_masks_match_is_no_winning_ticket():
    verdict = analyze(0.75, 0.751).verdict
    assert verdict.word == "wins" and verdict.winning_ticket is False
    assert "not shown to beat random masks (matches)" in verdict.sentences[1]


def test_a_ticket_that_loses():
    verdict = analyze(0.60, 0.50).verdict
    assert verdict.word == "loses" and verdict.winning_ticket is False
    assert "it is not shown to match the dense network (loses)" in verdict.sentences[1]


def test_the_other_half_is_training_time():
    """The ticket's loss is lowest at step 5, the dense network's at step 10 of an epoch of 10."""
    findings = analyze(0.75, 0.60)
    (early,) = [row for row in findings.comparisons if row.measure == "early_stopping"]
    assert early.differences == [0.5, 0.5, 0.5] and early.unit == "epochs" and early.word == "wins"
    reach = {(row.arm, row.sparsity): row for row in findings.reach}
    assert reach["ticket", 50.0] == Reach(arm="ticket", sparsity=50.0, reached=3, total=3, median_epochs=0.5)
    assert reach["random-mask", 50.0].reached == 0 and reach["random-mask", 50.0].total == 3
    assert reach["random-mask", 50.0].median_epochs is None, "counted, not dropped"
    assert reach["dense", None].median_epochs == 1.0
    assert (
        "in 3 of 3 seeds, in the median after 0.50 epochs; the dense network itself first had it after 1.00"
        in findings.verdict.sentences[-1]
    )


def test_a_supermask_is_compared_with_the_majority_rate():
    (row,) = [row for row in analyze(0.75, 0.6).comparisons if row.against == "majority rate"]
    assert row.differences == pytest.approx([-1.0] * 3) and row.word == "loses"


def test_two_seeds_have_no_verdict():
    findings = analyze(0.75, 0.6, seeds=2)
    assert findings.verdict.word is None and findings.verdict.winning_ticket is None
    assert all(row.word is None and row.interval is None for row in findings.comparisons)
    assert findings.cells[0].accuracy.interval is None


def test_without_the_arms_of_the_question_there_is_no_verdict():
    pairings = {name: PAIRINGS[name] for name in ("ticket", "supermask")}
    findings = analyze_study(make_study(0.75, 0.6), make_design(pairings=pairings))
    assert findings.verdict.word is None and "dense not compared" in findings.verdict.sentences[0]
    assert [row.arm for row in findings.comparisons] == ["supermask"]


def test_without_a_common_seed_there_is_no_verdict():
    results = [result for result in make_study(0.75, 0.6) if result.arm != ("dense", "ticket")[result.seed % 2]]
    verdict = analyze_study(results, make_design()).verdict
    assert verdict.word is None and "no seed has results for both" in verdict.sentences[0]


def test_cells_are_means_over_the_seeds():
    cells = {(cell.arm, cell.sparsity): cell for cell in analyze(0.75, 0.6).cells}
    ticket = cells["ticket", 50.0]
    assert ticket.n == 3 and ticket.accuracy.mean == pytest.approx(0.751)
    assert ticket.accuracy.values == pytest.approx([0.75, 0.751, 0.752])
    assert ticket.epochs == 1 and ticket.search_epochs == 2 and ticket.measured_sparsity == pytest.approx(49.9)
