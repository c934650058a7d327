"""The bundle: the folder that an app developer gets. Complete or absent, with hashes."""

from exporter.bundle.contents import ArtifactPlan, BundlePlan, bundle_name
from exporter.bundle.facts import (
    UNCHECKED,
    Artifact,
    Bound,
    ChatFacts,
    CompressionFacts,
    Example,
    FitFacts,
    Interface,
    ParityFacts,
    Port,
    SourceFacts,
    TaskFacts,
    Verdict,
    ports,
)
from exporter.bundle.manifest import Manifest, read_manifest
from exporter.bundle.onnx_files import genai_config, onnx_interface
from exporter.bundle.staging import Staging
from exporter.bundle.verify import VerifyResult, verify_bundle
from exporter.bundle.work_area import is_bundle
from exporter.bundle.writer import finish_bundle

__all__ = [
    "UNCHECKED",
    "Artifact",
    "ArtifactPlan",
    "Bound",
    "BundlePlan",
    "ChatFacts",
    "CompressionFacts",
    "Example",
    "FitFacts",
    "Interface",
    "Manifest",
    "ParityFacts",
    "Port",
    "SourceFacts",
    "Staging",
    "TaskFacts",
    "Verdict",
    "VerifyResult",
    "bundle_name",
    "finish_bundle",
    "genai_config",
    "is_bundle",
    "onnx_interface",
    "ports",
    "read_manifest",
    "verify_bundle",
]
