"""Trains the demo model: data, stages, optimiser, charts.

Read first: `loop` (one training run that can be resumed), then `clips` and `prepared_data` (what is trained on),
`train_autoencoder`, `train_denoiser` and `train_text` (one stage each). `painted_clips`, `phrases`, `muon`, `charts`,
`samples` and `trained_so_far` serve them. Needs torch.
"""
