"""A Helios of half a million parameters or a few million, with random weights, in the very layout of the real one.

diffusers and transformers write it themselves, so that what is loaded is what they call the Diffusers folder layout.
"""

from __future__ import annotations

import inspect
import json
import warnings
from pathlib import Path
from typing import Any

WORDS = "a the of in and walled garden at night day under rain snow castle river red green blue stone walks runs opens"
TEXT_DIM = 32


def write(folder: Path, *, shard_mb: float | None = None, seed: int = 0, **transformer: Any) -> Path:
    """Writes the folder. shard_mb: largest shard of the transformer. transformer: changes to its config."""
    import torch
    from diffusers import AutoencoderKLWan, HeliosPyramidPipeline, HeliosTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "num_attention_heads": 2, "attention_head_dim": 32, "in_channels": 16, "out_channels": 16,
        "text_dim": TEXT_DIM, "freq_dim": 32, "ffn_dim": 96, "num_layers": 2, "rope_dim": (12, 10, 10),
    }  # fmt: skip
    model = HeliosTransformer3DModel(**{**config, **transformer})
    vae = AutoencoderKLWan(base_dim=8, dim_mult=[1, 2, 4, 4], num_res_blocks=1)
    text = UMT5EncoderModel(
        UMT5Config(vocab_size=256, d_model=TEXT_DIM, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0)
    )
    pipeline = HeliosPyramidPipeline(
        tokenizer=tokenizer(), text_encoder=text, vae=vae, scheduler=_scheduler(), transformer=model,
        is_distilled=True,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    if shard_mb is not None:
        part = folder / "transformer"
        for file in part.glob("*.safetensors"):
            file.unlink()
        model.save_pretrained(part, max_shard_size=f"{round(shard_mb * 1e3)}KB")
    return folder


def _scheduler() -> Any:
    from diffusers import HeliosDMDScheduler

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array_wrap__ must accept")  # diffusers 0.42 with numpy 2
        return HeliosDMDScheduler()


def tokenizer() -> Any:
    """UMT5's kind of tokeniser over a few words and all printable letters."""
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in dict.fromkeys(WORDS.split())]
    pieces += [(chr(code), -6.0) for code in range(33, 127)]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def write_full_size_configs(folder: Path) -> Path:
    """Helios-14B's configs without weights: the defaults of diffusers' classes, and UMT5-XXL's published sizes."""
    from diffusers import AutoencoderKLWan, HeliosDMDScheduler, HeliosTransformer3DModel

    classes = {"transformer": HeliosTransformer3DModel, "vae": AutoencoderKLWan, "scheduler": HeliosDMDScheduler}
    for name, kind in classes.items():
        defaults = {
            key: parameter.default
            for key, parameter in inspect.signature(kind.__init__).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        _write_json(folder / name / file, {"_class_name": kind.__name__, **defaults})
    umt5_xxl = {
        "model_type": "umt5", "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24,
        "num_heads": 64, "feed_forward_proj": "gated-gelu",
    }  # fmt: skip
    _write_json(folder / "text_encoder" / "config.json", umt5_xxl)
    _write_json(folder / "model_index.json", {"_class_name": "HeliosPyramidPipeline", "is_distilled": True})
    return folder


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
