"""Years as bumps over the decades, against the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reeltag.encoders.year import encode_years


def test_bumps_follow_the_formula() -> None:
    years = [1888, 1915, 1919.5, 1977, 2025, 2031]
    block = encode_years(np.array(years, np.float32))
    assert block.values.shape == (6, 12)
    assert block.values.dtype == np.float32
    for row, year in enumerate(years):
        for column in range(12):
            expected = math.exp(-(((year - (1915 + 10 * column)) / 8) ** 2))
            assert block.values[row, column] == pytest.approx(expected, rel=1e-4, abs=1e-30)
    assert block.present.all()


def test_unknown_years_are_absent_and_zero() -> None:
    block = encode_years(np.array([np.nan, 1995, np.inf, -np.inf], np.float32))
    assert block.present.tolist() == [False, True, False, False]
    assert (block.values[[0, 2, 3]] == 0).all()
    assert block.values[1, 8] == 1


def test_every_year_of_film_history_is_told_from_its_neighbours() -> None:
    values = encode_years(np.arange(1900, 2036, dtype=np.float32)).values
    steps = np.abs(np.diff(values, axis=0)).max(axis=1)
    assert steps.min() > 0.01
    assert (np.linalg.norm(values[10:126], axis=1) > 0.5).all()


def test_near_years_are_more_alike_than_far_ones() -> None:
    nineties, late, silent = encode_years(np.array([1994, 1998, 1925], np.float32)).values
    assert nineties @ late > 0.5
    assert nineties @ silent < 1e-6


def test_no_titles() -> None:
    block = encode_years(np.zeros(0, np.float32))
    assert block.values.shape == (0, 12)
    assert block.present.shape == (0,)
