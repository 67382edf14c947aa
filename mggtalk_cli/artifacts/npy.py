"""Single arrays in numpy's `.npy` layout, checked against the schema before memory is taken."""

from __future__ import annotations

import ast
import functools
import io
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from mggtalk_cli.artifacts.schema import ArraySpec
from mggtalk_cli.artifacts.validation import check_layout, check_values
from mggtalk_cli.artifacts.zipstream import Buffer, Member
from mggtalk_cli.errors import ArtifactError

# numpy writes 128-byte headers; long ones are attacks on its parser.
_MAX_NPY_HEADER = 8192
MAX_META_BYTES = 4 * 2**20


def npy_parts(array: np.ndarray) -> tuple[Buffer, Buffer]:
    """Return the header and the bytes of a C-contiguous array, without copying the latter."""
    header = io.BytesIO()
    npy_format.write_array_header_1_0(header, npy_format.header_data_from_array_1_0(array))
    return header.getvalue(), array.reshape(-1).view(np.uint8).data


def _read_header(member: Member) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, Fortran order and dtype of the array in a member."""
    start = member.read(8)
    if not start.startswith(npy_format.MAGIC_PREFIX) or start[6] not in (1, 2):
        raise ArtifactError(f"member '{member.name}' is no .npy array")
    length = int.from_bytes(member.read(2 * start[6]), "little")
    if length > _MAX_NPY_HEADER:
        raise ArtifactError(f"member '{member.name}' has a .npy header of {length} bytes")
    try:
        return _parse_header(bytes(member.read(length)))
    except (ValueError, TypeError, SyntaxError, KeyError, RecursionError, MemoryError) as error:
        raise ArtifactError(f"member '{member.name}' has an odd .npy header") from error


@functools.lru_cache(maxsize=64)  # the frames of a sequence share a few headers
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    fields = ast.literal_eval(header.decode("latin-1").strip())
    shape, fortran_order, descr = fields["shape"], fields["fortran_order"], fields["descr"]
    sizes_fit = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not sizes_fit or type(fortran_order) is not bool or not isinstance(descr, str):
        raise ValueError("header fields of the wrong type")
    return shape, fortran_order, np.dtype(descr)


def read_npy(
    member: Member, name: str, spec: ArraySpec | None, sizes: dict[str, int]
) -> np.ndarray:
    """Return the array in a member, checked: layout before allocating, values after.

    Raises:
        ArtifactError: it does not fit `spec` and `sizes` (extended here), or is damaged.
    """
    shape, fortran_order, dtype = _read_header(member)
    nbytes = check_layout(name, spec, dtype, shape, sizes)
    data = member.read(nbytes)
    member.finish()
    flat = np.frombuffer(data, dtype)
    array = flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)
    array = np.ascontiguousarray(array).reshape(shape)
    check_values(name, array)
    return array


def read_text(member: Member) -> str:
    """Return the text in a member that holds a 0-d unicode array."""
    shape, _, dtype = _read_header(member)
    if shape not in ((), (1,)) or dtype.kind != "U" or dtype.itemsize > MAX_META_BYTES:
        raise ArtifactError(f"member '{member.name}' must hold one text, not {dtype}{shape}")
    data = member.read(dtype.itemsize)
    member.finish()
    try:
        return str(np.frombuffer(data, dtype)[0])
    except (ValueError, UnicodeError) as error:
        raise ArtifactError(f"member '{member.name}' holds no readable text") from error
