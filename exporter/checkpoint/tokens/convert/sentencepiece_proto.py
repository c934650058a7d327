"""The protobuf messages of a sentencepiece model file, with the fields that a conversion needs.

Names, numbers and defaults are those of sentencepiece's `sentencepiece_model.proto`. The generated module in the
sentencepiece package isn't used: it needs at least the protobuf release that generated it (7.36.1 for sentencepiece
0.2.3), it lacks the trainer's samples, and it reads a piece of an unknown type as a normal one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

# Text is read as bytes, since protobuf doesn't check that it is UTF-8.
# message → (field, number, type, default). A type with a capital letter is a message; a star makes it repeated.
_MESSAGES: dict[str, tuple[tuple[str, int, str, str], ...]] = {
    "Piece": (("piece", 1, "bytes", ""), ("score", 2, "float", ""), ("type", 3, "int32", "1")),
    "Trainer": (
        ("model_type", 3, "int32", "1"),
        ("treat_whitespace_as_suffix", 24, "bool", ""),
        ("byte_fallback", 35, "bool", ""),
    ),
    "Normalizer": (
        ("precompiled_charsmap", 2, "bytes", ""),
        ("add_dummy_prefix", 3, "bool", "true"),
        ("remove_extra_whitespaces", 4, "bool", "true"),
        ("escape_whitespaces", 5, "bool", "true"),
    ),
    "Sample": (("input", 1, "bytes", ""), ("expected", 2, "bytes", "")),
    "SelfTest": (("samples", 1, "Sample*", ""),),
    "Model": (
        ("pieces", 1, "Piece*", ""),
        ("trainer_spec", 2, "Trainer", ""),
        ("normalizer_spec", 3, "Normalizer", ""),
        ("self_test_data", 4, "SelfTest", ""),
        ("denormalizer_spec", 5, "Normalizer", ""),
    ),
}


class DamagedModelError(ValueError):
    """The bytes are not a sentencepiece model. The message says why, as a sentence about the file."""


def parse_model(data: bytes) -> Any:
    """`data` as a message with the fields of `Model`; protobuf keeps all other fields as they are.

    Raises DamagedModelError. An empty piece takes 2 bytes of `data` and some 60 bytes of memory.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return _model_class().FromString(data)
    except DecodeError:
        raise DamagedModelError("its protobuf message is damaged or cut") from None


@cache
def _model_class() -> Any:
    from google.protobuf import (  # type: ignore[import-untyped]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    package = "kogata.sentencepiece"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind, default in fields:
            repeated = kind.endswith("*")
            field = described.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind[0].isupper():
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{package}.{kind.rstrip('*')}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
            if default:
                field.default_value = default
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Model"))
