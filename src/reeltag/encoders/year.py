"""The year of a title as smooth bumps over the decades: genres come and go with time (Film-Noir, Western, Sci-Fi)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reeltag.features import Block

_CENTRES = np.arange(1915, 2026, 10, dtype=np.float32)
_WIDTH_YEARS = 8.0


def encode_years(years: npt.NDArray[np.float32]) -> Block:
    """Return Gaussian bumps centred on 1915, 1925, … 2025.

    Args:
        years: Shape (n_titles,), NaN where unknown.

    Returns:
        A block of width 12: ``exp(-((year - centre) / 8)^2)``.
    """
    present = np.isfinite(years)
    distance = (np.where(present, years, 0)[:, None] - _CENTRES) / _WIDTH_YEARS
    values = np.exp(-(distance**2)) * present[:, None]
    return Block(values.astype(np.float32), present)
