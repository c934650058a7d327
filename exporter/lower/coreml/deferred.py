"""Constants whose values are read only when the weight file is written.

coremltools keeps every constant of a program in memory, with a byte for each index of a palette, until it saves the
program. A `Deferred` array has a shape and a type but no values: coremltools writes a placeholder for it, and
`weight_file` replaces the placeholder by the values, a few megabytes at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from exporter.graph.bits import packed_size, unpack
from exporter.graph.palette import Palette

PLACEHOLDER_VALUES = 1  # number of values that coremltools writes for a deferred constant
CHUNK = 1 << 24  # bytes copied at once

Chunks = Callable[[], Iterator[NDArray[np.uint8]]]


class Deferred(np.ndarray[Any, np.dtype[Any]]):
    """An array that reads all its values when a numpy function or operator needs them.

    bits: of one value in the weight file. chunks: yields the values in pieces, as bytes of the weight file.
    """

    bits: int
    chunks: Chunks

    @classmethod
    def of(cls, shape: tuple[int, ...], dtype: np.dtype[Any], bits: int, chunks: Chunks) -> Self:
        """An array of this shape and type. Its memory holds a single element (NaN if possible) that is never used."""
        one = np.array(np.nan if dtype.kind == "f" else 0, dtype)
        made = super().__new__(cls, shape, dtype, one.data, 0, (0,) * len(shape))
        made.bits, made.chunks = bits, chunks
        return made

    @property
    def stored_bytes(self) -> int:
        """The size of the values in the weight file, in bytes."""
        return packed_size(self.size, self.bits)

    def read(self) -> NDArray[Any]:
        """All values as a normal array of this shape and type."""
        stored = np.concatenate(list(self.chunks()))
        flat = unpack(stored, self.bits, self.size) if self.bits < 8 else stored.view(self.dtype)
        return flat.astype(self.dtype).reshape(self.shape)

    def flatten(self, order: Any = "C") -> NDArray[Any]:  # noqa: ARG002
        """The placeholder. Only coremltools' writer of weight files calls this method."""
        return np.zeros(PLACEHOLDER_VALUES, self.dtype)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return func(*_read(args), **_read(kwargs))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*_read(inputs), **_read(kwargs))

    def __getitem__(self, place: Any) -> Any:
        return self.read()[place]

    def astype(self, *arguments: Any, **options: Any) -> Any:
        """As in numpy, with the values read."""
        return self.read().astype(*arguments, **options)

    def reshape(self, *arguments: Any, **options: Any) -> Any:
        """As in numpy, with the values read."""
        return self.read().reshape(*arguments, **options)

    def __array_finalize__(self, source: object) -> None:
        if isinstance(source, Deferred):  # a view or a copy of the single element
            raise RuntimeError("a deferred constant doesn't support this way of reading it")


def _read(arguments: Any) -> Any:
    """`arguments` with deferred arrays replaced by normal ones, also inside of lists."""
    if isinstance(arguments, Deferred):
        return arguments.read()
    if isinstance(arguments, dict):
        return {key: _read(value) for key, value in arguments.items()}
    if isinstance(arguments, tuple | list):
        return type(arguments)(_read(value) for value in arguments)
    return arguments


def deferred_indices(palette: Palette, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The palette's indices in `shape`, followed by zeros if `shape` has more elements.

    dtype: coremltools' numpy type with the palette's number of bits.
    """
    size = packed_size(int(np.prod(shape)), palette.bits)

    def chunks() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, palette.packed.size, CHUNK):
            yield palette.packed.read(start, min(start + CHUNK, palette.packed.size))
        yield np.zeros(size - palette.packed.size, np.uint8)

    return Deferred.of(shape, np.dtype(dtype), palette.bits, chunks)


def deferred_float16(shape: tuple[int, int], load: Callable[[slice], NDArray[np.float16]]) -> NDArray[np.float16]:
    """A float16 matrix. load: reads a slice of its rows."""
    step = max(1, CHUNK // (2 * shape[1]))

    def chunks() -> Iterator[NDArray[np.uint8]]:
        for first in range(0, shape[0], step):
            yield np.ascontiguousarray(load(slice(first, first + step))).reshape(-1).view(np.uint8)

    return Deferred.of(shape, np.dtype(np.float16), 16, chunks)
