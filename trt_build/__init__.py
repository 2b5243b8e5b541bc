"""Builds engines from a model: torch -> ONNX -> what a runtime loads. Never imported by serving code."""
