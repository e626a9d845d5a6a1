"""What the entries run, beside what their sources say."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from lthrun.cli import configs
from lthrun.experiments.study_config import CompareConfig, plan_sparsities
from lthrun.reproductions import REPRODUCTIONS
from lthrun.reproductions.frankle_carbin_2019_lenet import LEVELS, SPARSITIES
from lthrun.reproductions.renda_2020_resnet20 import LEVELS as DENSITIES
from lthrun.reproductions.reproduce import plan_reproduction

LAYERS = {"fc1": 784 * 300, "fc2": 300 * 100, "fc3": 100 * 10}


@pytest.mark.parametrize("name", REPRODUCTIONS)
@pytest.mark.parametrize("is_quick", [False, True])
def test_every_entry_has_configs_claims_and_says_what_is_less_when_quick(name: str, is_quick: bool):
    entry = REPRODUCTIONS[name]
    plan = plan_reproduction(name, is_quick=is_quick, data_dir="somewhere")
    assert plan.configs and all(config.data.dir == "somewhere" for _, config in plan.configs)
    assert entry.claims and entry.quick and entry.source and entry.quick_seeds <= entry.seeds
    assert {claim.unit for claim in entry.claims} <= {"points", "%", "×"}


def lenet(is_quick: bool = False) -> CompareConfig:
    ((_, config),) = plan_reproduction("frankle-carbin-2019-lenet", is_quick=is_quick).configs
    assert isinstance(config, CompareConfig)
    return config


def test_lenet_is_trained_as_the_paper_has_it():
    config = lenet()
    training, steps = config.training, (60_000 - 5_000) // 60
    assert round(config.data.validation / 100 * 60_000) == 5_000
    assert (training.optimizer, training.learning_rate, training.batch_size) == ("adam", 1.2e-3, 60)
    assert (training.betas, training.eps, training.schedule) == ((0.9, 0.999), 1e-8, "constant")
    assert (training.evaluate_every, training.evaluate_images) == (100, None)
    assert abs(training.epochs * steps - 50_000) < steps / 2
    assert config.compare.seeds == 10 and config.data.augmentation == ("none",)
    quick = lenet(is_quick=True)
    assert abs(quick.training.epochs * steps - 5_000) < steps / 2 and quick.compare.seeds == 3


def test_lenet_prunes_20_percent_of_what_remains_in_each_of_18_levels():
    levels = [0.0, *plan_sparsities(lenet().compare.sparsities, lenet().compare.prune_rate)]
    assert len(levels) == 19
    for before, after in pairwise(levels):
        assert (after - before) / (100 - before) == pytest.approx(0.2, abs=1e-8)


def test_the_levels_are_those_at_which_the_paper_counts_its_weights():
    """51.3 % of all weights, with the output layer pruned at half the rate of the others."""
    for percent, level in LEVELS.items():
        kept = sum(count * (0.9 if name == "fc3" else 0.8) ** level for name, count in LAYERS.items())
        assert 100 * kept / sum(LAYERS.values()) == pytest.approx(percent, abs=0.1)
        assert SPARSITIES[percent] == pytest.approx(100 - 100 * 0.8**level)


def test_supermasks_share_the_levels_of_large_final_with_the_tickets():
    (config,) = (
        config for name, config in plan_reproduction("zhou-2019-supermask", seeds=1).configs if name == "large-final"
    )
    ticket = lenet().ticket(0)
    assert config.training == ticket.training and config.data == ticket.data
    own, others = (list(c.mask_settings.sparsities) for c in (config, ticket))
    assert own == others[: len(own)]


def test_renda_has_its_densities():
    for density, level in DENSITIES.items():
        assert math.isclose(density, 0.8**level, abs_tol=0.001)


def test_every_entry_is_listed(capsys: pytest.CaptureFixture[str]):
    configs.list_names("reproductions")
    listed = capsys.readouterr().out
    assert all(name in listed for name in REPRODUCTIONS)
