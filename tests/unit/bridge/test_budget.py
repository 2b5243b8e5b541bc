"""What a chunk will cost."""

from __future__ import annotations

from bridge.budget import CostConfig, CostEstimator
from bridge.engine import Plan


def plan(frames: int, rung: str = "full") -> Plan:
    return Plan(frames=frames, steps=(1, 1, 1), rung=rung)


def test_unmeasured_cost_is_the_prior() -> None:
    cost = CostEstimator(CostConfig(prior_us=123)).cost(0, plan(5))
    assert (cost.p50_us, cost.p95_us, cost.measured) == (123, 123, False)


def test_percentiles_are_values_that_were_seen() -> None:
    costs = CostEstimator()
    costs.observe(0, plan(5), 900_000)  # the warm-up
    for cost_us in range(1000, 41_000, 1000):
        costs.observe(1, plan(5), cost_us)
    cost = costs.cost(2, plan(5))
    assert (cost.p50_us, cost.p95_us, cost.measured) == (20_000, 38_000, True)


def test_the_warm_up_counts_only_until_something_better_is_known() -> None:
    costs = CostEstimator()
    costs.observe(0, plan(5), 900_000)
    assert costs.cost(0, plan(5)).p95_us == 900_000
    costs.observe(1, plan(5), 50_000)
    assert costs.cost(1, plan(5)).p95_us == 50_000
    costs.restart()
    costs.observe(2, plan(5), 900_000)
    assert costs.cost(2, plan(5)).p95_us == 50_000


def test_another_length_of_the_same_rung_scales_and_another_rung_does_not() -> None:
    costs = CostEstimator(CostConfig(prior_us=7))
    costs.observe(0, plan(9), 90_000)
    assert costs.cost(0, plan(5)).p50_us == 50_000
    assert not costs.cost(0, plan(5)).measured
    assert costs.cost(0, plan(5, "low")).p50_us == 7


def test_old_measurements_are_forgotten() -> None:
    costs = CostEstimator(CostConfig(prior_us=7, keep_us=1000))
    costs.observe(0, plan(9), 1)
    costs.observe(0, plan(9), 90_000)
    assert costs.cost(1000, plan(9)).p50_us == 90_000
    assert costs.cost(1001, plan(9)).p50_us == 7
