"""The networks as torch modules, and how their weights are read.

Read first: `transformer` (Helios's transformer as one exported graph), then `autoencoder` (the small video decoder and
encoder), `denoiser` (the graph's interface), `view_denoiser` (one view at a time, for training adapters). `rope`,
`conditioner`, `lora`, `fp8`, `weight_offload` and `checkpoints` serve them.

Must not know: the chunk loop, runners. Imports torch; serving with onnxruntime or TensorRT never imports this package.
"""
