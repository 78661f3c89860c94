"""The benchmarks by name."""

from __future__ import annotations

from reeltag.benchmark.entries import Benchmark
from reeltag.benchmark.idkg_tables import IDKG_BENCHMARKS
from reeltag.benchmark.poster_tables import POSTER_BENCHMARKS
from reeltag.benchmark.retrieval_entries import RETRIEVAL_TABLE
from reeltag.benchmark.trailer_tables import TRAILER_BENCHMARKS
from reeltag.benchmark.xmlc_tables import XMLC_BENCHMARKS
from reeltag.errors import ConfigError, shown

BENCHMARKS: dict[str, Benchmark] = {
    found.name: found for found in (*IDKG_BENCHMARKS, *POSTER_BENCHMARKS, *XMLC_BENCHMARKS, *TRAILER_BENCHMARKS)
}
# measured by what neighbours share, not by labels
RETRIEVAL_BENCHMARKS: dict[str, Benchmark] = {RETRIEVAL_TABLE.name: RETRIEVAL_TABLE}


def benchmark(name: str) -> Benchmark:
    """Return a benchmark by name.

    Raises:
        ConfigError: There is no such benchmark.
    """
    known = BENCHMARKS | RETRIEVAL_BENCHMARKS
    if name not in known:
        raise ConfigError(f"benchmark {shown(name)} is unknown; known: {', '.join(known)}")
    return known[name]
