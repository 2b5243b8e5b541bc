"""Benchmarks that are run by hand; RESULTS.md holds what they measured."""
