"""Learning-rate schedules against PyTorch's schedulers and hand-worked values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthrun.config.sections import Training
from lthrun.training.learning_rates import LEARNING_RATES, learning_rate_at


def rate_at(step: int, span: int, epoch_steps: int, **settings: object) -> float:
    return learning_rate_at(Training(learning_rate=0.1, **settings), step, span, epoch_steps)


@pytest.mark.parametrize("span", [7, 100])
def test_cosine_is_that_of_pytorch(span):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, span, eta_min=0.001)
    for step in range(span):
        assert rate_at(step, span, 10, schedule="cosine") == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_step_is_that_of_pytorch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [50, 75], 0.1)
    for step in range(100):
        assert rate_at(step, 100, 10, schedule="step") == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_one_cycle_is_that_of_pytorch_with_the_numbers_of_fastai():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    # PyTorch reaches the ends at step (total * pct - 1) and (total - 1): 26 / 101 puts the peak at step 25 of 101.
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=101, pct_start=26 / 101, div_factor=25, final_div_factor=4, cycle_momentum=False
    )
    for step in range(100):
        assert rate_at(step, 100, 10, schedule="one_cycle") == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_warmup_rises_to_the_schedule_in_equal_steps():
    rates = [rate_at(step, 100, 5, warmup="2ep") for step in range(12)]
    assert rates == pytest.approx([0.01 * k for k in range(1, 11)] + [0.1, 0.1])
    assert rate_at(1, 100, 5, warmup="4it") == pytest.approx(0.05)


@given(st.sampled_from(sorted(LEARNING_RATES)), st.integers(0, 300))
def test_after_the_span_the_rate_stays_constant(name, step):
    rate = rate_at(step, 100, 10, schedule=name)
    assert 0 < rate <= 0.1 + 1e-12
    if step >= 100:
        assert rate == rate_at(100, 100, 10, schedule=name)


def test_constant_is_constant():
    assert {rate_at(step, 10, 5) for step in range(20)} == {0.1}
