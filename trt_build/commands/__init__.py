"""The subcommands of `python -m trt_build`, one file each.

A command's module is cheap to import (no torch, onnx or tensorrt before `run`) and has
`SUMMARY: str`, one line for the list of commands; `EXAMPLES: str`, shown under its help; `add_arguments(parser)`;
`run(options) -> int`, the exit status, which raises ModelError for what the user can put right.
"""
