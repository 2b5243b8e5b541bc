"""The fused row operations: their Triton kernels in Triton's interpreter against the reference form."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

ROWS, WIDTH, HEADS = 5, 96, 6


def draw(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def kernels() -> Iterator[ModuleType]:
    """`model.fast.fused_kernels` for Triton's interpreter, loaded beside the real one: kernels run on CPU tensors.

    Triton decides when it is imported whether its own library (sum, max, ...) is interpreted, and others may have
    imported it before; so its library is replaced here, and put back.
    """
    pytest.importorskip("triton")
    from triton import language
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    found = importlib.util.find_spec("model.fast.fused_kernels")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        for name, function in list(vars(language.standard).items()):
            if isinstance(function, JITFunction):
                interpreted = InterpretedFunction(function.fn)
                for place in (language, language.standard):
                    if getattr(place, name, None) is function:
                        patch.setattr(place, name, interpreted)
        found.loader.exec_module(module)
        yield module


@pytest.fixture
def both(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Both forms. "Quantised" values stay float32, scaled but not rounded: the interpreter's own rounding to E4M3 loses
    carries, and on a GPU that is one instruction of the processor (test_row_kernels.py)."""
    from model.fast import fused_ops

    monkeypatch.setattr(fused_ops, "E4M3", torch.float32)
    return fused_ops.ReferenceRowOps(), fused_ops.TritonRowOps(kernels)


def assert_rows_agree(got: Any, wanted: Any) -> None:
    torch.testing.assert_close(got.values, wanted.values, atol=1e-5, rtol=1e-5)
    assert (got.scales is None) == (wanted.scales is None)
    if wanted.scales is not None:
        torch.testing.assert_close(got.scales, wanted.scales, atol=0, rtol=1e-5)
        torch.testing.assert_close(got.values.abs().amax(1), torch.full((len(got.values),), 448.0))


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_add_and_norm(both: tuple[Any, Any], gated: bool, quantise: bool) -> None:
    from model.fast.fused_ops import Norm, Rows

    delta, gate = draw(ROWS, WIDTH, seed=1), draw(WIDTH, seed=2) if gated else None
    norm = Norm(draw(WIDTH, seed=3), draw(WIDTH, seed=4), 1e-6)
    results = []
    for ops in both:
        x = draw(ROWS, WIDTH)
        out = Rows.empty(ROWS, WIDTH, x, quantise=quantise)
        ops.add_norm_(x, delta, gate, norm, out)
        results.append((x, out))
    (wanted_x, wanted), (got_x, got) = results
    torch.testing.assert_close(got_x, wanted_x)
    assert not torch.equal(wanted_x, draw(ROWS, WIDTH))
    assert_rows_agree(got, wanted)


@pytest.mark.parametrize("quantise", [False, True])
def test_norm_alone_leaves_the_rows_as_they_are(both: tuple[Any, Any], quantise: bool) -> None:
    from model.fast.fused_ops import Norm, Rows

    norm = Norm(draw(WIDTH, seed=3), draw(WIDTH, seed=4), 1e-6)
    outs = []
    for ops in both:
        x = draw(ROWS, WIDTH)
        outs.append(Rows.empty(ROWS, WIDTH, x, quantise=quantise))
        ops.norm(x, norm, outs[-1])
        assert torch.equal(x, draw(ROWS, WIDTH))
    assert_rows_agree(outs[1], outs[0])


def test_norm_into_some_rows_touches_no_other(both: tuple[Any, Any]) -> None:
    from model.fast.fused_ops import Norm, Rows

    norm = Norm(draw(WIDTH, seed=3), draw(WIDTH, seed=4), 1e-6)
    for ops in both:
        out = Rows(torch.full((ROWS, WIDTH), 7.0))
        ops.norm(draw(2, WIDTH), norm, out.part(1, 3))
        assert (out.values[[0, 3, 4]] == 7).all()
        assert not (out.values[1:3] == 7).any()


def test_add(both: tuple[Any, Any]) -> None:
    delta, gate = draw(ROWS, WIDTH, seed=1), draw(WIDTH, seed=2)
    results = []
    for ops in both:
        results.append(draw(ROWS, WIDTH))
        ops.add_(results[-1], delta, gate)
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("history", [0, 2])
@pytest.mark.parametrize("parts", [1, 2])
def test_turn(both: tuple[Any, Any], parts: int, history: int) -> None:
    from model.fast.fused_ops import Rotary

    cos, sin = draw(2, ROWS, WIDTH // HEADS // 2, seed=5)
    turn = Rotary(cos, sin, history, draw(WIDTH, seed=6) if history else None)
    weights = draw(parts, WIDTH, seed=7)
    results = []
    for ops in both:
        x = draw(ROWS, 3 * WIDTH)
        ops.turn_(x, weights, 1e-6, turn)
        results.append(x)
        assert torch.equal(x[:, parts * WIDTH :], draw(ROWS, 3 * WIDTH)[:, parts * WIDTH :])  # values stay
    torch.testing.assert_close(results[1], results[0], atol=1e-5, rtol=1e-5)


def test_turning_keeps_the_length_of_every_row(both: tuple[Any, Any]) -> None:
    """RMSNorm with weights of one gives rows of length sqrt(width); a rotation does not change it."""
    from model.fast.fused_ops import Rotary

    angle = draw(ROWS, WIDTH // HEADS // 2, seed=5)
    for ops in both:
        x = draw(ROWS, WIDTH)
        ops.turn_(x, torch.ones(1, WIDTH), 0.0, Rotary(angle.cos(), angle.sin()))
        torch.testing.assert_close(x.norm(dim=1), torch.full((ROWS,), WIDTH**0.5))


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("gelu", [False, True])
def test_rows_for_a_product(both: tuple[Any, Any], gelu: bool, quantise: bool) -> None:
    x = draw(ROWS, WIDTH)
    wanted, got = (ops.rows(x, gelu=gelu, quantise=quantise) for ops in both)
    assert_rows_agree(got, wanted)
    assert torch.equal(x, draw(ROWS, WIDTH))
    meant = torch.nn.functional.gelu(x, approximate="tanh") if gelu else x
    error = (wanted.dequantised() - meant).norm() / meant.norm()
    assert error < 1e-6


def test_quantised_rows_keep_their_largest_number_and_never_become_nan() -> None:
    from model.fast.fused_ops import quantised

    x = draw(64, 32) * 10 ** draw(64, 1, seed=1)
    x[3] = 0
    rows = quantised(x)
    back = rows.dequantised()
    assert bool(back.isfinite().all())
    torch.testing.assert_close(back.abs().amax(1), x.abs().amax(1), rtol=1e-5, atol=1e-9)
    assert (back[3] == 0).all()


def test_rows_that_are_not_contiguous_are_refused(both: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"rows must be a contiguous \(rows, width\)"):
        both[1].add_(draw(WIDTH, ROWS).T, draw(ROWS, WIDTH), draw(WIDTH))
