"""Helios's transformer made fast on a GPU: row operations, attention kernels, FP8, and the block built of them."""
