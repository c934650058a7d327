"""A small model of one graph, exported to both formats once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporter.compress import CompressOptions, compress
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.importers.onnx_file import import_onnx
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.lower.onnx import OnnxOptions, lower_onnx
from exporter.parity.graphs.subjects import GraphSubjects
from exporter.pipeline.parts import candidates
from exporter.progress import NoProgress


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> GraphSubjects:
    """A classifier of pictures: a convolution, a layer, and logits of 5 classes."""
    folder = tmp_path_factory.mktemp("gate")
    rng = np.random.default_rng(5)
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[N, 3, 16, 16] pixels) => (float[N, 5] logits, float[N, 40] pooled) {
        c = Conv<strides = [4, 4], kernel_shape = [4, 4]>(pixels, kernel)
        r = Relu(c)
        f = Flatten(r)
        h = MatMul(f, hidden)
        pooled = Tanh(h)
        logits = Gemm<transB = 1>(pooled, head, bias)
    }"""
    shapes = {"kernel": (48, 3, 4, 4), "hidden": (768, 40), "head": (5, 40), "bias": (5,)}
    model = onnx.parser.parse_model(text)
    for name, shape in shapes.items():
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) if name != "hidden" else shape[0])
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    path = folder / "classifier.onnx"
    onnx.save(model, str(path))
    hub, _ = import_onnx(path, {})
    hub = replace(hub, spec=replace(hub.spec, task="image-classification"))
    palettes = compress(candidates(hub), CompressOptions(6, 16), NoProgress()).palettes
    compressed = apply_palettes(hub, palettes)
    onnx_path = lower_onnx(compressed, folder / "onnx", OnnxOptions()).path
    coreml_path = lower_coreml(compressed, folder / "m.mlpackage", CoreMLOptions()).path
    artifacts = {PORTABLE: onnx_path, FLEXIBLE: coreml_path}
    return GraphSubjects(spec=hub.spec, hub=hub, compressed=compressed, artifacts=artifacts)
