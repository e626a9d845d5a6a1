"""The findings of a study, from results made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lthrun.analysis.arm_results import ArmResult
from lthrun.analysis.findings import analyze_study
from lthrun.analysis.study_records import Reach, StudyFindings
from lthrun.records import FinalEvaluation, LevelTest
from tests.analysis.studies import PAIRINGS, make_design, make_result, make_study


def analyze(ticket: float, control: float, seeds: int = 3) -> StudyFindings:
    return analyze_study(make_study(ticket, control, seeds), make_design(seeds))


def test_a_winning_ticket():
    """Differences 5.0, 5.1, 5.2 points: mean 5.1, and t(0.975, 2) · 0.1 / √3 = 0.248."""
    findings = analyze(0.75, 0.60)
    primary, *others = findings.comparisons
    assert primary.is_primary
    assert (primary.arm, primary.against, primary.measure) == ("ticket", "dense", "accuracy")
    assert primary.mean == pytest.approx(5.1)
    assert primary.interval == pytest.approx((5.1 - 0.248, 5.1 + 0.248), abs=1e-3)
    assert findings.verdict.word == "wins" and findings.verdict.winning_ticket is True
    assert not any(row.is_primary for row in others)
    claim = {(row.arm, row.against, row.measure) for row in others if row.is_claim}
    assert claim == {("ticket", "random-mask", "accuracy"), ("ticket", "random-init", "accuracy")}
    assert {(row.arm, row.against, row.measure) for row in others if row.p_holm is not None} == {
        ("ticket", "dense", "balanced_accuracy"), ("ticket", "dense", "early_stopping"),
        ("supermask", "majority rate", "accuracy"),
    }  # fmt: skip
    assert {row.confidence for row in others if row.is_claim} == {0.95}


def test_question_answer_and_reason_are_plain_sentences():
    findings = analyze(0.7485, 0.60)
    assert findings.question == (
        "Does the ticket at 50 % reach the accuracy of the dense network after the same training?"
    )
    assert findings.verdict.answer == (
        "Yes, it wins: after the same training the ticket at 50 % is more accurate than the dense network."
    )
    assert findings.verdict.reason == (
        "The mean difference in accuracy on n = 1,000 validation images is +4.95 points over 3 seeds, all with one "
        "split; its 95 % interval, +4.70 to +5.20, lies above 0."
    )
    claim, worst, *_ = findings.verdict.details
    assert claim.startswith("It is a winning ticket")
    assert worst == (
        "The worst seed is 0, with +4.85 points. The difference is beyond ±5 points in seed 2. A training may have "
        "collapsed there."
    )
    assert findings.verdict.sentences[:2] == [findings.verdict.answer, findings.verdict.reason]


def test_a_collapse_that_few_seeds_cannot_rule_out_is_named():
    (sentence,) = [s for s in analyze(0.702, 0.60).verdict.details if "worst seed" in s]
    assert sentence == (
        "The worst seed is 0, with +0.20 points. None lost more than 5 points, but 3 seeds cannot rule out that up to "
        "63 % of trainings do."
    )


def test_findings_are_json_and_back():
    findings = analyze(0.75, 0.60)
    assert StudyFindings.model_validate_json(findings.model_dump_json()) == findings


def test_a_ticket_that_random_masks_match_is_no_winning_ticket():
    verdict = analyze(0.75, 0.751).verdict
    assert verdict.word == "wins" and verdict.winning_ticket is False
    assert "not shown to beat random masks (matches)" in verdict.details[0]


def test_a_ticket_that_loses():
    verdict = analyze(0.60, 0.50).verdict
    assert verdict.word == "loses" and verdict.winning_ticket is False and verdict.answer.startswith("No, it loses")
    assert "it is not shown to match the dense network (loses)" in verdict.details[0]


def test_an_undecided_study_of_one_look_offers_a_fresh_one():
    results = [make_result("dense", seed, 0.70, [0.6, 0.5], [0.6, 0.7]) for seed in range(3)]
    results += [make_result("ticket", seed, 0.69 + 0.01 * seed, [0.4, 0.5], [0.7, 0.7]) for seed in range(3)]
    verdict = analyze_study(results, make_design()).verdict
    assert verdict.word == "undecided" and verdict.answer.startswith("Undecided: 3 seeds show neither")
    assert verdict.details[0].startswith("A fresh study of about ") and "80 %" in verdict.details[0]
    findings = analyze_study(results, make_design(most_seeds=40))
    assert findings.comparisons[0].correction == "looks" and findings.comparisons[0].confidence > 0.95
    assert "of the 40" in findings.verdict.details[0] and "chance of a verdict" in findings.verdict.details[0]
    assert findings.looks == [3] and findings.most_seeds == 40 and not findings.verdict.warnings


def test_more_seeds_than_declared_keep_their_interval_with_a_warning():
    results, design = make_study(0.75, 0.6), make_design(most_seeds=2, earlier_looks=(2,))
    findings = analyze_study(results, design)
    assert findings.comparisons[0].interval == analyze(0.75, 0.6).comparisons[0].interval
    assert findings.verdict.warnings == [
        "This study declared at most 2 seeds and has 3: more than 5 % of such studies may err. A fresh study on new "
        "seeds keeps the promise."
    ]
    assert findings.looks == [2, 3]


def test_the_regime_is_the_first_thing_said():
    verdict = analyze(0.75, 0.70).verdict
    assert verdict.sentences[0].startswith("No arm can fail here")


def test_the_other_half_is_training_time():
    """The ticket's loss is lowest at step 5, the dense network's at step 10 of an epoch of 10."""
    findings = analyze(0.75, 0.60)
    (early,) = [row for row in findings.comparisons if row.measure == "early_stopping"]
    assert early.differences == [0.5, 0.5, 0.5] and early.unit == "epochs" and early.word == "wins"
    assert early.condition.differences == pytest.approx([20.0] * 3) and early.condition.unit == "percent"
    reach = {(row.arm, row.sparsity): row for row in findings.reach}
    assert reach["ticket", 50.0] == Reach(arm="ticket", sparsity=50.0, reached=3, total=3, median_epochs=0.5)
    assert reach["random-mask", 50.0].reached == 0 and reach["random-mask", 50.0].total == 3
    assert reach["random-mask", 50.0].median_epochs is None, "counted, not dropped"
    assert reach["dense", None].median_epochs == 1.0
    early_sentence, reach_sentence = findings.verdict.details[-2:]
    assert early_sentence.startswith("Its validation loss is lowest 0.50 epochs sooner than the dense network's")
    assert early_sentence.endswith("sooner and no worse.") and "20.0 % lower" in early_sentence
    assert reach_sentence == (
        "It reached the dense network's final validation accuracy in 3 of 3 seeds, in the median after 0.50 epochs; the "
        "dense network itself first had it after 1.00."
    )


def test_sooner_and_worse_is_no_win():
    """The ticket's lowest loss comes half an epoch sooner and is 20 % higher."""
    results = [make_result("dense", seed, 0.70, [0.6, 0.5], [0.6, 0.7]) for seed in range(3)]
    results += [make_result("ticket", seed, 0.70 + 0.001 * seed, [0.6, 0.7], [0.7, 0.7]) for seed in range(3)]
    findings = analyze_study(results, make_design(evaluation_epochs=0.25))
    (early,) = [row for row in findings.comparisons if row.measure == "early_stopping"]
    assert early.mean == 0.5 and early.word == "undecided"
    (sentence,) = [s for s in findings.verdict.details if "validation loss" in s]
    assert "20.0 % higher" in sentence and sentence.endswith("not shown to be sooner and no worse.")


def test_a_supermask_is_compared_with_the_majority_rate():
    (row,) = [row for row in analyze(0.75, 0.6).comparisons if row.against == "majority rate"]
    assert row.differences == pytest.approx([-1.0] * 3) and row.word == "loses"


def test_two_seeds_have_no_verdict():
    findings = analyze(0.75, 0.6, seeds=2)
    assert findings.verdict.word is None and findings.verdict.winning_ticket is None
    assert all(row.word is None and row.interval is None for row in findings.comparisons)
    assert findings.cells[0].accuracy.interval is None
    assert findings.verdict.answer == "No verdict: 2 seeds have results for ticket and dense, and 3 are needed."


def test_without_the_arms_of_the_question_there_is_no_verdict():
    pairings = {name: PAIRINGS[name] for name in ("ticket", "supermask")}
    findings = analyze_study(make_study(0.75, 0.6), make_design(pairings=pairings))
    assert findings.verdict.word is None and findings.verdict.answer == "No verdict: dense not compared."
    assert [row.arm for row in findings.comparisons] == ["supermask"]


def test_without_a_common_seed_there_is_no_verdict():
    results = [result for result in make_study(0.75, 0.6) if result.arm != ("dense", "ticket")[result.seed % 2]]
    verdict = analyze_study(results, make_design()).verdict
    assert verdict.word is None and verdict.answer == "No verdict: no seed has both results."


def test_where_there_are_test_images_accuracies_are_of_these_and_times_of_the_others():
    """The ticket is better by 5 points on the validation images and worse by 2 on the test images."""

    def add_test(result: ArmResult) -> ArmResult:
        share = {"dense": 0.72, "ticket": 0.70, "supermask": 0.68}.get(result.arm, 0.5)
        early = FinalEvaluation(result.lowest.step, 0.5, share - 0.01, 0.4, [1, 1])
        return replace(result, test=LevelTest(FinalEvaluation(10, 0.5, share, share - 0.2, [1, 1]), early))

    plain, design = make_study(0.75, 0.60), make_design(n_test=400, has_split_per_seed=True)
    results = [add_test(result) for result in plain]
    findings, others = analyze_study(results, design), analyze_study(plain, make_design())
    rows = {(row.against, row.measure): row for row in findings.comparisons}
    assert rows["dense", "accuracy"].differences == pytest.approx([-2.0] * 3) and findings.verdict.word == "loses"
    assert rows["dense", "balanced_accuracy"].differences == pytest.approx([-2.0] * 3)
    assert rows["random-mask", "accuracy"].differences == pytest.approx([20.0] * 3)
    half = 4.302653 * 100 / 400 / math.sqrt(12) / math.sqrt(3)  # no spread but that of rounding to a test image
    assert rows["dense", "accuracy"].interval == pytest.approx((-2 - half, -2 + half))
    (supermask,) = [row for row in findings.comparisons if row.arm == "supermask"]
    assert supermask.differences == pytest.approx([100 * (0.68 - rate) for rate in design.majority_rates.values()])
    assert (
        "on n = 400 test images is −2.00 points over 3 seeds, each with a split of its own" in findings.verdict.reason
    )
    early = [[row.differences for row in f.comparisons if row.measure == "early_stopping"] for f in (findings, others)]
    assert early[0] == early[1] and findings.reach == others.reach
    cell = next(cell for cell in findings.cells if cell.arm == "ticket")
    assert cell.final_accuracy == cell.test_accuracy and cell.test_accuracy.mean == pytest.approx(0.70)
    assert cell.early_stop_test_accuracy.mean == pytest.approx(0.69) and cell.accuracy.mean == pytest.approx(0.751)
    assert (results[0].final_accuracy, results[0].early_stop_accuracy) == (0.72, 0.71)
    assert (plain[0].final_accuracy, plain[0].early_stop_accuracy) == (0.70, None)


def test_each_seed_is_compared_with_the_majority_rate_of_its_own_split():
    rates = {0: 0.66, 1: 0.65, 2: 0.64}
    findings = analyze_study(make_study(0.75, 0.6), make_design(majority_rates=rates))
    (row,) = [row for row in findings.comparisons if row.against == "majority rate"]
    assert row.differences == pytest.approx([-1.0, 0.0, 1.0])


def test_cells_are_means_over_the_seeds():
    cells = {(cell.arm, cell.sparsity): cell for cell in analyze(0.75, 0.6).cells}
    ticket = cells["ticket", 50.0]
    assert ticket.n == 3 and ticket.accuracy.mean == pytest.approx(0.751)
    assert ticket.accuracy.values == pytest.approx([0.75, 0.751, 0.752])
    assert ticket.epochs == 1 and ticket.search_epochs == 2 and ticket.measured_sparsity == pytest.approx(49.9)


def test_the_primary_question_is_asked_at_the_primary_sparsity():
    results = [result for sparsity in (50.0, 90.0) for result in make_study(0.75, 0.60, sparsity=sparsity)]
    findings = analyze_study(results, make_design(sparsities=[50.0, 90.0], primary_sparsity=90.0))
    assert "the ticket at 90 %" in findings.question and "at 90 %" in findings.verdict.answer
    assert {(row.sparsity, row.is_claim) for row in findings.comparisons if row.arm == "ticket"} == {
        (90.0, True), (90.0, False), (50.0, False),
    }  # fmt: skip
    assert findings.primary and findings.primary.sparsity == 90.0 and findings.comparisons[0] is findings.primary


def test_two_dense_arms_are_compared_once():
    results = make_study(0.75, 0.60) + make_study(0.75, 0.60, sparsity=90.0)
    results += [replace(result, arm="again") for result in results if result.arm == "dense"]
    pairings = {**PAIRINGS, "again": ("again", "dense"), "rival": ("ticket", "rival")}
    rows = analyze_study(results, make_design(sparsities=[50.0, 90.0], pairings=pairings)).comparisons
    assert [row.sparsity for row in rows if (row.arm, row.against) == ("again", "dense")] == [50.0]
