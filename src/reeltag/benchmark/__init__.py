"""Benchmarks: tables and figures of papers, rerun on any catalogue under a clean or the published protocol.

Runs are kept as they are made and shared between tables; the same command goes on where it was interrupted.
"""

from __future__ import annotations

from reeltag.benchmark.entries import Benchmark, Entry, Variant
from reeltag.benchmark.markdown import short_tables, to_markdown
from reeltag.benchmark.protocols import PROTOCOLS
from reeltag.benchmark.report import BenchmarkReport, Row
from reeltag.benchmark.runner import run_benchmark
from reeltag.benchmark.runs import Run
from reeltag.benchmark.settings import NOT_IN_MMIMDB, BenchmarkConfig, changed, default_config
from reeltag.benchmark.tables import BENCHMARKS, benchmark

__all__ = [
    "BENCHMARKS",
    "NOT_IN_MMIMDB",
    "PROTOCOLS",
    "Benchmark",
    "BenchmarkConfig",
    "BenchmarkReport",
    "Entry",
    "Row",
    "Run",
    "Variant",
    "benchmark",
    "changed",
    "default_config",
    "run_benchmark",
    "short_tables",
    "to_markdown",
]
