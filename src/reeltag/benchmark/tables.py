"""The benchmarks by name."""

from __future__ import annotations

from reeltag.benchmark.entries import Benchmark
from reeltag.benchmark.idkg_tables import IDKG_BENCHMARKS
from reeltag.benchmark.poster_tables import POSTER_BENCHMARKS
from reeltag.benchmark.xmlc_tables import XMLC_BENCHMARKS
from reeltag.errors import ConfigError, shown

BENCHMARKS: dict[str, Benchmark] = {
    found.name: found for found in (*IDKG_BENCHMARKS, *POSTER_BENCHMARKS, *XMLC_BENCHMARKS)
}


def benchmark(name: str) -> Benchmark:
    """Return a benchmark by name.

    Raises:
        ConfigError: There is no such benchmark.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"benchmark {shown(name)} is unknown; known: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
