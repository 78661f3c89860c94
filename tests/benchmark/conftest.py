"""One benchmark of each kind, run once for the tests that only read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reeltag.benchmark import BenchmarkReport, run_benchmark
from samples import sample

from .tiny import config


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="session")
def table2(folder: Path) -> BenchmarkReport:
    only = ("GMU", "COCA", "BLIP", "IDKG", "idkg (reeltag)")
    return run_benchmark("idkg-table2", sample(), folder, config(n_seeds=2, only=only), command="reeltag benchmark …")
