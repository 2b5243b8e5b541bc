"""A model ready to run, as a loader returns it to the engine. Names no runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model.pipeline.text_conditioning import Tokenize
from model.pipeline.video_pipeline import VideoPipeline
from model.runners.base import ModuleRunner
from model.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """text_runner: has the text encoder and may be used on a thread of its own; None: `runner` has it. tokenize: None
    takes the spec's word-hash tokeniser. runner_name: what to call the runner, with its precision. view_on_request: the
    denoiser has room for a view where it was loaded with one."""

    spec: ModelSpec
    runner: ModuleRunner
    runner_name: str
    text_runner: ModuleRunner | None = None
    tokenize: Tokenize | None = None
    view_on_request: bool = False

    def rollout(self, clock: Callable[[], float], *, blend_chunks: int = 1) -> VideoPipeline:
        """The chunk loop over it. clock: seconds that only grow. Raises: ModelError."""
        return VideoPipeline(
            self.spec,
            self.runner,
            clock=clock,
            tokenize=self.tokenize,
            text_runner=self.text_runner,
            blend_chunks=blend_chunks,
        )

    def close(self) -> None:
        self.runner.close()
        if self.text_runner is not None:
            self.text_runner.close()
