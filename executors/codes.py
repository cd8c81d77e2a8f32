"""DOUBLE as 64-bit integers in the same order, which shares compare exactly. numpy alone."""

from __future__ import annotations

import numpy as np

from sdh.executors.text import Words

SIGN = -(1 << 63)


def codes_of_doubles(values: Words) -> Words:
    """float64 to int64 in the same order: -0.0 as 0.0, one NaN above infinity."""
    tidy = np.where(np.isnan(values), np.nan, values + 0.0)
    patterns = np.ascontiguousarray(tidy, dtype=np.float64).view(np.int64)
    patterns = np.where(np.isnan(values), np.float64("nan").view(np.int64) & np.int64(0x7FFFFFFFFFFFFFFF), patterns)
    return np.where(patterns < 0, np.int64(SIGN) ^ ~patterns, patterns)


def doubles_of_codes(codes: Words) -> Words:
    patterns = np.where(codes < 0, ~(codes ^ np.int64(SIGN)), codes)
    return np.ascontiguousarray(patterns).view(np.float64)


def code_of_double(value: float) -> int:
    return int(codes_of_doubles(np.array([value]))[0])
