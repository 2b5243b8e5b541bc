"""One torch module -> one ONNX graph whose weights keep the module's names. Needs the torch extra.

Weights that are hollow (model/networks/weight_offload.py) stay so: what is traced never depends on their values, and
nothing of their size is folded or merged.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from typing import Any

import onnx_ir
import torch
from onnx_ir.passes import common
from onnxscript import opset23
from onnxscript.optimizer import fold_constants

from model.networks.fp8 import dequantise, quantise_dequantise
from model.networks.transformer import DenoiserGraph
from model.runners.torch import TorchGraph

OPSET = 23  # the first with Attention and RMSNormalization, and with bf16 in convolutions
_FOLDED_NUMBERS = 16  # enough for any shape; no placeholder is folded, since a layer's weight is larger
_E4M3 = int(onnx_ir.DataType.FLOAT8E4M3FN)


def _quantise_dequantise(x: Any, scale: Any) -> Any:
    return opset23.DequantizeLinear(opset23.QuantizeLinear(x, scale, output_dtype=_E4M3), scale)


def _dequantise(weight: Any, scale: Any) -> Any:
    return opset23.DequantizeLinear(weight, scale, axis=1)


def _attention_in_parts(
    query: Any, key: Any, value: Any, mask: Any = None, dropout: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """aten.scaled_dot_product_attention as two products and a softmax; (B, heads, tokens, width) each."""
    assert (dropout, is_causal, enable_gqa) == (0.0, False, False), "not used by any graph here"
    factor = opset23.CastLike(opset23.Constant(value_float=scale or query.shape[-1] ** -0.5), query)
    scores = opset23.MatMul(opset23.Mul(query, factor), opset23.Transpose(key, perm=[0, 1, 3, 2]))
    if mask is not None:
        assert mask.dtype != onnx_ir.DataType.BOOL, "masks here are added"
        scores = opset23.Add(scores, mask)
    return opset23.MatMul(opset23.Softmax(scores, axis=-1), value)


def traced(graph: TorchGraph, *, opset: int = OPSET, optimise: bool = False) -> onnx_ir.Model:
    """The graph's module in ONNX; inputs and outputs keep their names.

    optimise: fold constants and merge what is equal, weights too: only for a module whose weights are all real.

    Attention is one operator in the denoiser alone: TensorRT has kernels for its heads (128 wide), but none for the 384
    of Wan's autoencoder, and one operator without a kernel cannot be built.
    """
    translations: dict[Any, Any] = {
        quantise_dequantise._opoverload: _quantise_dequantise,
        dequantise._opoverload: _dequantise,
    }
    if not isinstance(graph.module, DenoiserGraph) and opset == OPSET:
        translations[torch.ops.aten.scaled_dot_product_attention.default] = _attention_in_parts
    # They warn of operators of packages that are not there, and of a first step's memory, which is zeros that it gives.
    for name in ("torch.onnx", "onnx_ir.passes.common.initializer_deduplication"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # torch 2.13's exporter trips over a deprecation of torch's own.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
        # Two inputs that share a length give it one name: that is what `dynamic_axes` asks for.
        warnings.filterwarnings("ignore", message="# The axis name: .* will not be used", category=UserWarning)
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=_dynamic_shapes(graph),
            opset_version=opset,
            dynamo=True,
            verbose=False,
            optimize=optimise,
            custom_translation_table=translations,
        )
    assert program is not None
    model = program.model
    if not optimise:
        # Shapes and axes that the exporter computes from constants: TensorRT wants some of them (ReduceMax's) as such.
        fold_constants(
            model, input_size_limit=_FOLDED_NUMBERS, output_size_limit=_FOLDED_NUMBERS, should_fold=_is_small
        )
        common.CommonSubexpressionEliminationPass()(model)
        common.IdentityEliminationPass()(model)
        common.RemoveUnusedNodesPass()(model)
    common.ClearMetadataAndDocStringPass()(model)  # call stacks: they would change the graph's digest with any file
    return model


def _is_small(node: onnx_ir.Node) -> bool | None:
    """False if a node must not be folded, None if the limits decide: transpositions have none of their own."""
    constants = (value.const_value for value in node.inputs if value is not None)
    return None if all(tensor is None or tensor.size <= _FOLDED_NUMBERS for tensor in constants) else False


def _dynamic_shapes(graph: TorchGraph) -> dict[str, object]:
    """`dynamic_axes` by forward's own parameter names; a `*rest` parameter takes all inputs that are left."""
    axes = [dict(graph.dynamic_axes.get(name, {})) for name in graph.inputs]
    shapes: dict[str, object] = {}
    for parameter in inspect.signature(graph.module.forward).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            if axes:
                shapes[parameter.name] = tuple(axes)
            axes = []
        elif axes:
            shapes[parameter.name] = axes.pop(0)
    return shapes
