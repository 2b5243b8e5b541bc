"""Joins prompt and action to the texts that a chunk's network reads, and keeps the prompt in force in the state.

A text encoder with a state reads a new prompt once, before the action; one without reads both for every chunk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.engine.interface import ControlWindow, State
from model.camera_control.clause import with_clause
from model.spec import ModelSpec

_PROMPT = "prompt_utf8"


def chunk_texts(spec: ModelSpec, window: ControlWindow, prompt: str, latents: int, clause: str) -> tuple[str, ...]:
    """One text a latent frame: what its newest frame is told.

    prompt: in force. latents: of the chunk. clause: of the camera, "" for none; only an encoder without a state hears
    it.
    """
    last = [spec.frames_in(count + 1) - 1 for count in range(latents)]
    texts = [window.actions[index] for index in last]
    if spec.text_state_size == 0:
        return tuple(with_clause(told(prompt, text), clause) if clause else told(prompt, text) for text in texts)
    if any(update.prompt is not None for update in window.scene_updates):
        texts[0] = prompt
    return tuple(texts)


def told(prompt: str, action: str) -> str:
    """What a text encoder without a state is told: how the world looks, then what happens."""
    return ". ".join(part for part in (prompt.strip().rstrip("."), action.strip()) if part)


def prompt_in_force(state: State, window: ControlWindow) -> str:
    """The newest of the window's scene updates, else the state's."""
    prompts = [update.prompt for update in window.scene_updates if update.prompt is not None]
    return prompts[-1] if prompts else stored_prompt(state)


def stored_prompt(state: State) -> str:
    """The prompt in a state that holds `prompt_arrays`."""
    return state[_PROMPT].tobytes().decode()


def prompt_arrays(prompt: str) -> dict[str, NDArray[np.generic]]:
    """What a state holds of the prompt in force."""
    return {_PROMPT: np.frombuffer(prompt.encode(), dtype=np.uint8)}
