"""The row kernels compiled for the GPU they are meant for, which needs no GPU."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.mark.parametrize("fp8", [False, True])
def test_the_kernels_compile_for_hopper(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, fp8: bool) -> None:
    """Triton compiles for sm_90 on any Linux machine; at Helios-14B's widths no array is put into local memory."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from model.fast import fused_kernels
    from model.fast.fused_ops import launch_options

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    row, vector, out = "*bf16", "*fp32", "*fp8e4nv" if fp8 else "*bf16"
    cases: list[tuple[Any, dict[str, str], dict[str, Any], int]] = [
        (
            fused_kernels.add_norm_kernel,
            {"x": row, "delta": row, "gate": vector, "scale": vector, "shift": vector, "out": out, "out_scales": vector,
             "width": "i32", "eps": "fp32"},
            {"ADD": True, "GATE": True, "NORM": True, "QUANTISE": fp8}, 5120,
        ),
        (
            fused_kernels.turn_kernel,
            {"x": row, "weight": vector, "cos": vector, "sin": vector, "key_scale": vector, "row_stride": "i32",
             "width": "i32", "eps": "fp32", "history": "i32"},
            {"HALF_HEAD": 64, "ROTATE": True, "AMPLIFY": True}, 5120,
        ),
        (
            fused_kernels.activate_kernel, {"x": row, "out": out, "out_scales": vector, "width": "i32"},
            {"GELU": True, "QUANTISE": fp8}, 13824,
        ),
    ]  # fmt: skip
    for kernel, types, constants, width in cases:
        options = launch_options(width)
        signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
        constants = {**constants, "BLOCK": options.pop("BLOCK")}
        place = kernel.arg_names.index
        # As at run time: buffers are aligned, and these widths are multiples of 16.
        aligned = [name for name, kind in types.items() if kind[0] == "*" or name in ("width", "row_stride")]
        source = ASTSource(
            kernel,
            signature,
            constexprs={(place(name),): value for name, value in constants.items()},
            attrs={(place(name),): [["tt.divisibility", 16]] for name in aligned},
        )
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert len(made.asm["cubin"]) > 1000
        assert ".local" not in made.asm["ptx"]
        assert set(re.findall(r"ld\.global\S*", made.asm["ptx"])) == {"ld.global.v4.b32"}  # 16 bytes a thread
        assert set(re.findall(r"st\.global\S*", made.asm["ptx"])) <= {"st.global.v4.b32", "st.global.b32"}  # a scale
        if fp8 and "QUANTISE" in constants:
            assert "e4m3x2" in made.asm["ptx"]  # the processor's own conversion
