"""Real films: speed and sanity. Skipped where the data is not there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from reeltag.catalogue import Catalogue, ReadOptions

SHARED = Path(os.environ.get("REELTAG_SHARED") or Path(__file__).parents[2].parent / "shared")
FILMS = SHARED / "data" / "films.parquet"
POSTERS = SHARED / "data" / "posters"

pytestmark = pytest.mark.skipif(not FILMS.is_file(), reason="the shared data is not there (set REELTAG_SHARED)")


def test_films_are_read_in_15_seconds() -> None:
    start = time.perf_counter()
    catalogue = Catalogue.read(FILMS)
    assert time.perf_counter() - start < 15
    assert len(catalogue) == 113_058
    assert catalogue.rejected == ()
    sizes = [len(catalogue.rows_of(split)) for split in ("train", "validation", "test", "background")]
    assert sizes[:3] == [12_469, 2_078, 3_125]
    assert sum(sizes) == len(catalogue)
    rows, keys = catalogue.people("cast")
    assert (np.diff(rows) >= 0).all()
    assert len(keys) == sum(map(len, catalogue.lists("cast")))


@pytest.mark.skipif(not POSTERS.is_dir(), reason="the shared posters are not there")
def test_posters_of_the_films() -> None:
    catalogue = Catalogue.read(FILMS, ReadOptions(posters=(POSTERS,)))
    rows = catalogue.rows_of("validation")
    some = catalogue.take(rows[:20])
    assert some.posters.present(some.ids).all()
    assert all(content[8:12] == b"WEBP" for _, content in some.posters.read(some.ids))
    background = catalogue.take(catalogue.rows_of("background"))
    assert not background.posters.present(background.ids).any()
