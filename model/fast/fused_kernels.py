"""The kernels of `model.fast.fused_ops` in Triton: one program a row, statistics in float32, one rounding at the end.

Only the kernels live here; fused_ops.py decides when they run and gives their reference form. Each is bound by
memory: a row is read once and written once. Needs Triton (CUDA builds of torch bring it).
"""

import triton
import triton.language as tl

# 448: the largest float8_e4m3fn (OCP 8-bit floating point specification 1.0, table 1)
E4M3_MAX = tl.constexpr(448.0)
# a row of zeros keeps a scale that can be divided by
SMALLEST_AMAX = tl.constexpr(1e-12)


@triton.jit
def _store_rows(value, mask, columns, row, out, out_scales, width, QUANTISE: tl.constexpr):
    """Writes one row, as it is or as E4M3 with the row's own scale."""
    if QUANTISE:
        amax = tl.maximum(tl.max(tl.abs(value), axis=0), SMALLEST_AMAX)
        tl.store(out_scales + row, amax / E4M3_MAX)
        value = value * (E4M3_MAX / amax)
        value = tl.minimum(tl.maximum(value, -E4M3_MAX), E4M3_MAX)
    tl.store(out + row * width + columns, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def add_norm_kernel(
    x, delta, gate, scale, shift, out, out_scales, width, eps,
    BLOCK: tl.constexpr, ADD: tl.constexpr, GATE: tl.constexpr, NORM: tl.constexpr, QUANTISE: tl.constexpr,
):  # fmt: skip
    """x += delta * gate; out = layer_norm(x) * scale + shift. Vectors are (width,), the rest (rows, width)."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    value = tl.load(x + row * width + columns, mask=mask, other=0.0).to(tl.float32)
    if ADD:
        added = tl.load(delta + row * width + columns, mask=mask, other=0.0).to(tl.float32)
        if GATE:
            added = added * tl.load(gate + columns, mask=mask, other=0.0).to(tl.float32)
        kept = (value + added).to(x.dtype.element_ty)
        tl.store(x + row * width + columns, kept, mask=mask)
        value = kept.to(tl.float32)
    if NORM:
        mean = tl.sum(value, axis=0) / width
        centred = tl.where(mask, value - mean, 0.0)
        variance = tl.sum(centred * centred, axis=0) / width
        scales = tl.load(scale + columns, mask=mask, other=0.0).to(tl.float32)
        shifts = tl.load(shift + columns, mask=mask, other=0.0).to(tl.float32)
        normed = centred * tl.rsqrt(variance + eps) * scales + shifts
        _store_rows(normed, mask, columns, row, out, out_scales, width, QUANTISE)


@triton.jit
def turn_kernel(
    x, weight, cos, sin, key_scale, row_stride, width, eps, history,
    BLOCK: tl.constexpr, HALF_HEAD: tl.constexpr, ROTATE: tl.constexpr, AMPLIFY: tl.constexpr,
):  # fmt: skip
    """x = rotate(rms_norm(x) * weight), in place, for part `program_id(1)` of each row (0 queries, 1 keys).

    Pairs of neighbouring channels are turned by cos, sin (rows, HALF_HEAD). Keys of the first `history` rows are
    multiplied by key_scale (width,) when AMPLIFY.
    """
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    start = x + row * row_stride + part * width
    value = tl.load(start + columns, mask=mask, other=0.0).to(tl.float32)
    mean_square = tl.sum(value * value, axis=0) / width
    weights = tl.load(weight + part * width + columns, mask=mask, other=0.0).to(tl.float32)
    value = value * tl.rsqrt(mean_square + eps) * weights
    if ROTATE:
        left, right = tl.split(tl.reshape(value, (BLOCK // 2, 2)))
        place = row * HALF_HEAD + tl.arange(0, BLOCK // 2) % HALF_HEAD
        c, s = tl.load(cos + place), tl.load(sin + place)
        value = tl.reshape(tl.join(left * c - right * s, left * s + right * c), (BLOCK,))
    if AMPLIFY:
        scaled = value * tl.load(key_scale + columns, mask=mask, other=1.0).to(tl.float32)
        value = tl.where((part == 1) & (row < history), scaled, value)
    tl.store(start + columns, value.to(x.dtype.element_ty), mask=mask)


@triton.jit
def activate_kernel(x, out, out_scales, width, BLOCK: tl.constexpr, GELU: tl.constexpr, QUANTISE: tl.constexpr):
    """out = gelu(x), the tanh form, or x as it is; each row quantised when QUANTISE. All (rows, width)."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    value = tl.load(x + row * width + columns, mask=mask, other=0.0).to(tl.float32)
    if GELU:
        # 0.5 (1 + tanh z) = sigmoid(2 z), z = sqrt(2 / pi) (x + 0.044715 x^3)
        value = value * tl.sigmoid(1.5957691216057308 * (value + 0.044715 * value * value * value))
    _store_rows(value, mask, columns, row, out, out_scales, width, QUANTISE)
