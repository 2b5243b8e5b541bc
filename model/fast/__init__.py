"""Helios's transformer for one GPU: fused operations, FP8 products, the fastest attention at hand.

In: the weights of `model.networks.transformer`. Out: the same graph interface, faster, equal up to rounding.

Read first: `denoiser` and `block`, then `projection` (matrix products), `attention`, `fused_ops` (reference and Triton,
whose kernels are `fused_kernels`), `graph` (how a runner gets it), `block_errors` (how far the rounding goes).

Must not know: checkpoints on disk, the chunk loop. Needs torch; Triton where kernels run.
"""
