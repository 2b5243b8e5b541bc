"""Figures of the demo model: how good the picture is, and whether camera and action text steer it.

Read first: `runs` (what is run), then `tours` (walks to judge), `judging` and `figures` (PSNR, SSIM, sharpness),
`pose_search` (which camera a frame really shows), `heldout` (texts never trained on), `report` (the tables).

Must not know: how the model was trained.
"""
