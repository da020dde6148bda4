"""Matrices as a precision stores them, and back."""

import numpy as np
import numpy.typing as npt

from phonelm_search.core.precision import Precision

Floats = npt.NDArray[np.float32]


def quantise_blocks(weight: Floats, precision: Precision) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Symmetric round-to-nearest quantisation along the input dimension.

    Args:
        weight: ``[out, in]``.
        precision: A block scheme of 4 or 8 bits.

    Returns:
        Packed values ``[out, blocks, block_size·bits/8]``, low nibble first, and scales
        ``[out, blocks]``; a value is (stored − zero point) · scale, zero point 8 or 128.
    """
    out, inputs = weight.shape
    blocks, size = precision.blocks(inputs), precision.block_size
    padded = np.zeros((out, blocks * size), np.float32)
    padded[:, :inputs] = weight
    grouped = padded.reshape(out, blocks, size)
    zero = 1 << (precision.bits - 1)
    extreme = np.take_along_axis(grouped, np.abs(grouped).argmax(-1, keepdims=True), -1)
    scales = extreme / -zero  # the extreme keeps its sign and maps to the lowest code
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    codes = np.clip(np.rint(grouped * inverse) + zero, 0, 2 * zero - 1).astype(np.uint8)
    packed: npt.NDArray[np.uint8] = codes
    if precision.bits == 4:
        packed = (codes[..., 0::2] | (codes[..., 1::2] << 4)).astype(np.uint8)
    return packed, scales[..., 0].astype(np.float32)


def dequantise_blocks(
    packed: npt.NDArray[np.uint8], scales: Floats, precision: Precision, inputs: int
) -> Floats:
    """The inverse of `quantise_blocks`: fp32 ``[out, in]``."""
    codes = packed
    if precision.bits == 4:
        codes = np.stack((packed & 15, packed >> 4), -1).reshape(*packed.shape[:2], -1)
    values = (codes.astype(np.float32) - (1 << (precision.bits - 1))) * scales[..., None]
    flat: Floats = values.reshape(values.shape[0], -1)[:, :inputs]
    return flat


def quantise_rows(weight: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Symmetric int8 codes ``[out, in]`` and a scale for each output ``[out, 1]``."""
    scale = np.abs(weight).max(1, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.rint(weight / scale).astype(np.int8), scale


def rounded(weight: Floats, precision: Precision) -> Floats:
    """What is left of a matrix ``[out, in]`` after it was stored in a precision."""
    if precision.storage == "float":
        return weight
    if precision.storage == "dynamic":
        codes, scale = quantise_rows(weight)
        return codes.astype(np.float32) * scale
    if precision.storage == "static":
        return _rounded_whole(weight)
    packed, scales = quantise_blocks(weight, precision)
    return dequantise_blocks(packed, scales, precision, weight.shape[1])


def _rounded_whole(weight: Floats) -> Floats:
    """Unsigned 8-bit codes with one scale and zero point for the whole matrix, and back."""
    low, high = min(0.0, float(weight.min())), max(0.0, float(weight.max()))
    if low == high:
        return weight
    scale = (high - low) / 255
    zero = round(-low / scale)
    codes = np.clip(np.rint(weight / scale) + zero, 0, 255)
    back: Floats = ((codes - zero) * scale).astype(np.float32)
    return back
