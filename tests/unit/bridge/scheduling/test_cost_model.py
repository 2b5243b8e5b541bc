"""What a chunk will cost."""

from __future__ import annotations

from bridge.engine.interface import Plan
from bridge.scheduling.cost_model import CostConfig, CostEstimator


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


def test_one_length_tells_of_others_with_a_fixed_part_and_another_rung_says_nothing() -> None:
    costs = CostEstimator(CostConfig(prior_us=7, fixed_share=0.25))
    costs.observe(0, plan(12), 80_000)
    assert costs.cost(0, plan(4)).p50_us == 40_000  # 20 fixed, 60 in proportion
    assert not costs.cost(0, plan(4)).measured
    assert costs.cost(0, plan(4, "low")).p50_us == 7
    assert costs.known_cost(0, plan(4, "low")) is None


def test_two_lengths_tell_of_a_third_by_a_straight_line() -> None:
    costs = CostEstimator()
    costs.observe(0, plan(12), 999_999)  # the warm-up
    for _ in range(3):
        costs.observe(0, plan(12), 160_000)
        costs.observe(0, plan(4), 80_000)
    assert costs.cost(0, plan(8)).p50_us == 120_000
    assert costs.cost(0, plan(16)).p50_us == 200_000
    assert costs.cost(0, plan(2)).p50_us == 60_000


def test_disturbed_medians_never_make_a_longer_chunk_cheaper() -> None:
    costs = CostEstimator()
    costs.observe(0, plan(12), 999_999)
    costs.observe(0, plan(4), 90_000)
    costs.observe(0, plan(12), 80_000)
    assert costs.cost(0, plan(16)).p50_us >= costs.cost(0, plan(14)).p50_us >= 80_000


def test_old_measurements_are_forgotten() -> None:
    costs = CostEstimator(CostConfig(prior_us=7, keep_us=1000))
    costs.observe(0, plan(9), 1)
    costs.observe(0, plan(9), 90_000)
    assert costs.cost(1000, plan(9)).p50_us == 90_000
    assert costs.cost(1001, plan(9)).p50_us == 7


def test_how_long_a_chunk_leads_is_estimated_beside_what_it_costs() -> None:
    costs = CostEstimator()
    costs.observe(0, plan(8), 900_000, 800_000)
    assert costs.cost(0, plan(8)).lead_p95_us == 800_000  # the warm-up's, until another is known
    for lead_us in (50_000, 60_000, 70_000):
        costs.observe(1, plan(8), 100_000, lead_us)
    cost = costs.cost(1, plan(8))
    assert (cost.p50_us, cost.lead_p50_us, cost.lead_p95_us) == (100_000, 60_000, 70_000)
    costs.observe(1, plan(12), 100_000)
    assert costs.cost(1, plan(12)).lead_p50_us == 100_000  # all at once


def test_what_chunks_cost_at_once_is_measured_beside_what_one_does() -> None:
    costs = CostEstimator()
    costs.observe(0, plan(8), 900_000)  # the warm-up
    costs.observe(1, plan(8), 100_000)
    assert costs.batch_cost(1, plan(8), 2) is None
    costs.observe(1, plan(8), 130_000, 110_000, together=2)
    cost = costs.batch_cost(1, plan(8), 2)
    assert cost is not None
    assert (cost.p50_us, cost.lead_p50_us) == (130_000, 110_000)
    assert costs.cost(1, plan(8)).p50_us == 100_000
    assert costs.cost(1, plan(16)).p50_us == 175_000  # a guess from one chunk, never from two
