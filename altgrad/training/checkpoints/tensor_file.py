"""Tensors to and from a file in the safetensors format, in one pass, trusting nothing it reads.

    8 bytes   length N of the header, little endian
    N bytes   JSON: name -> dtype, shape, [first byte, last byte) in the rest of the file
    rest      the numbers, row-major, little endian

Format: github.com/huggingface/safetensors, "Format". Written here so that a file is hashed while
it is written and while it is read, piece by piece, through `Disk`; the library reads what this
writes and this reads what the library writes (tested).
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
HEADER_LIMIT = 32 << 20
"""Bytes of header read at most: 100,000 tensors take about 12 MiB."""


def tensor_pieces(tensors: dict[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The file's bytes: the header, then each tensor's memory as it lies (on the CPU, no copy)."""
    # Wide types first keeps every tensor aligned to its own width.
    order = sorted(tensors, key=lambda n: (-tensors[n].element_size(), n))
    header, position = {}, 0
    for name in order:
        tensor = tensors[name]
        end = position + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        if tensors[name].numel():
            yield tensors[name].reshape(-1).view(torch.uint8).numpy().data


def parse_header(text: bytes, data_bytes: int) -> dict[str, Any]:
    """The header as a dict, if every entry is possible in a file with `data_bytes` of numbers.

    Raises:
        ValueError: not JSON, an unknown dtype, a shape or place that does not fit.
    """
    try:
        header = json.loads(text)
    except RecursionError:
        raise ValueError("its header is nested without end") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a table of tensors")
    header.pop("__metadata__", None)
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(item[1])):
        start, end = _offsets(entry)
        if start != position or end != start + _bytes_of(entry):
            raise ValueError(f"its header gives {name[:80]!r} a size or place that cannot be")
        position = end
    if position != data_bytes:
        raise ValueError(f"its header speaks of {position} bytes, the file has {data_bytes}")
    return header


def _offsets(entry: Any) -> tuple[int, int]:
    try:
        start, end = entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise ValueError("its header has an entry without a place") from None
    if not (type(start) is int and type(end) is int and 0 <= start <= end):
        raise ValueError("its header has an entry with an impossible place")
    return start, end


def _bytes_of(entry: dict[str, Any]) -> int:
    shape, dtype = entry.get("shape"), entry.get("dtype")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("its header has an impossible shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"its header has an unknown dtype {str(dtype)[:40]!r}")
    return math.prod(shape) * DTYPES[dtype].itemsize


def tensors_of(header: dict[str, Any], data: Tensor) -> dict[str, Tensor]:
    """Copies out of `data` (uint8), one per entry of a checked header, each in its own memory.

    Views would do for most, but some readers (`torch.set_rng_state`) ignore where a view starts.
    """
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        tensors[name] = data[start:end].clone().view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors
