"""What a study concludes, from results made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lthrun.analysis.findings import Design, Result, findings

RIVALS = {
    "dense": ("dense", "dense"),
    "ticket": ("ticket", "dense"),
    "random-mask": ("ticket", "random-mask"),
    "random-init": ("ticket", "random-init"),
    "supermask": ("supermask", "majority rate"),
}


def result(arm: str, seed: int, accuracy: float, losses: list[float], rates: list[float], **facts: Any) -> Result:
    """One epoch of ten steps; looks after every five."""
    seen = zip(losses, rates, strict=True)
    looks = [{"step": 5 * (k + 1), "loss": x, "accuracy": a} for k, (x, a) in enumerate(seen)]
    looks.insert(0, {"step": 1, "loss": 0.9, "accuracy": 0.1})
    epoch = {
        "accuracy": accuracy,
        "balanced_accuracy": accuracy - 0.1,
        "valid_loss": losses[-1],
        "looks": looks,
        "step": 10,
    }
    sparsity = None if arm == "dense" else 50.0
    return Result(
        arm, seed, sparsity, [epoch], 10, 10 if arm == "dense" else 20, 0.0 if arm == "dense" else 49.9, **facts
    )


def study(ticket: float, mask: float, seeds: int = 3, rivals: Any = RIVALS) -> dict[str, Any]:
    results = []
    for seed in range(seeds):
        wobble = 0.001 * seed
        results += [
            result("dense", seed, 0.70, [0.6, 0.5], [0.6, 0.7]),
            result("ticket", seed, ticket + wobble, [0.4, 0.5], [0.72, 0.71]),
            result("random-mask", seed, mask, [0.6, 0.55], [0.5, 0.6]),
            result("random-init", seed, mask, [0.6, 0.55], [0.5, 0.6]),
            result("supermask", seed, 0.65, [0.6, 0.6], [0.6, 0.65]),
        ]
    return findings(results, Design(range(seeds), [50.0], rivals, 1.0, 10, 0.5, 0.66, 1000))


def test_a_winning_ticket():
    """Differences 5.0, 5.1, 5.2 points: mean 5.1, and t(0.975, 2) · 0.1 / √3 = 0.248."""
    found = study(0.75, 0.60)
    primary, *secondary = found["comparisons"]
    assert primary["primary"] and (primary["arm"], primary["against"], primary["measure"]) == (
        "ticket",
        "dense",
        "accuracy",
    )
    assert primary["mean"] == pytest.approx(5.1) and primary["interval"] == pytest.approx(
        [5.1 - 0.248, 5.1 + 0.248], abs=1e-3
    )
    assert found["verdict"]["word"] == "wins" and found["verdict"]["winning_ticket"] is True
    first, second, *_ = found["verdict"]["sentences"]
    assert first == (
        "The ticket at 50 % wins: after the same training it is more accurate than the dense network, "
        "+5.10 points (95 % interval +4.85 to +5.35, 3 seeds)."
    )
    assert second.startswith("It is a winning ticket")
    assert not any(c["primary"] for c in secondary) and all(c["p_holm"] is not None for c in secondary)
    asked = {(c["arm"], c["against"], c["measure"]) for c in secondary}
    assert asked == {
        ("ticket", "dense", "balanced_accuracy"), ("ticket", "dense", "early_stopping"),
        ("ticket", "random-mask", "accuracy"), ("ticket", "random-init", "accuracy"),
        ("supermask", "majority rate", "accuracy"),
    }  # fmt: skip


def test_a_ticket_that_random_masks_equal_is_no_winning_ticket():
    found = study(0.75, 0.751)["verdict"]
    assert found["word"] == "wins" and found["winning_ticket"] is False
    assert "not shown to beat random masks (matches)" in found["sentences"][1]


def test_a_ticket_that_loses():
    found = study(0.60, 0.50)["verdict"]
    assert found["word"] == "loses" and found["winning_ticket"] is False
    assert "it is not shown to match the dense network (loses)" in found["sentences"][1]


def test_the_other_half_is_training_time():
    """The ticket's loss is lowest at step 5, the dense network's at step 10 of an epoch of 10."""
    found = study(0.75, 0.60)
    (early,) = [c for c in found["comparisons"] if c["measure"] == "early_stopping"]
    assert early["differences"] == [0.5, 0.5, 0.5] and early["unit"] == "epochs" and early["word"] == "wins"
    reach = {(r["arm"], r["sparsity"]): r for r in found["reach"]}
    assert reach["ticket", 50.0] == {"arm": "ticket", "sparsity": 50.0, "reached": 3, "of": 3, "median_epochs": 0.5}
    assert reach["random-mask", 50.0]["reached"] == 0 and reach["random-mask", 50.0]["of"] == 3
    assert reach["random-mask", 50.0]["median_epochs"] is None, "counted, not dropped"
    assert reach["dense", None]["median_epochs"] == 1.0
    assert (
        "in 3 of 3 seeds, in the median after 0.50 epochs; the dense network itself first had it after 1.00"
        in (found["verdict"]["sentences"][-1])
    )


def test_a_supermask_is_held_against_the_majority_rate():
    (found,) = [c for c in study(0.75, 0.6)["comparisons"] if c["against"] == "majority rate"]
    assert found["differences"] == pytest.approx([-1.0] * 3) and found["word"] == "loses"


def test_two_seeds_have_no_verdict():
    found = study(0.75, 0.6, seeds=2)
    assert found["verdict"]["word"] is None and found["verdict"]["winning_ticket"] is None
    assert all(c["word"] is None and c["interval"] is None for c in found["comparisons"])
    assert found["cells"][0]["accuracy"]["interval"] is None


def test_without_the_arms_of_the_question_there_is_no_verdict():
    found = study(0.75, 0.6, rivals={name: RIVALS[name] for name in ("ticket", "supermask")})
    assert found["verdict"]["word"] is None and "ticket and dense" in found["verdict"]["sentences"][0]
    assert [c["arm"] for c in found["comparisons"]] == ["supermask"]


def test_cells_are_means_over_the_seeds():
    cells = {(c["arm"], c["sparsity"]): c for c in study(0.75, 0.6)["cells"]}
    own = cells["ticket", 50.0]
    assert own["n"] == 3 and own["accuracy"]["mean"] == pytest.approx(0.751)
    assert own["accuracy"]["values"] == pytest.approx([0.75, 0.751, 0.752])
    assert own["epochs"] == 1 and own["search_epochs"] == 2 and own["measured_sparsity"] == pytest.approx(49.9)
