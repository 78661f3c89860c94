"""Benchmarks: tables and figures of papers, rerun on any catalogue under a clean or the published protocol.

Runs are kept as they are made and shared between tables; the same command goes on where it was interrupted.
"""

from __future__ import annotations

from reeltag.benchmark.entries import Benchmark, Entry, Variant
from reeltag.benchmark.markdown import short_tables, to_markdown
from reeltag.benchmark.protocols import PROTOCOLS
from reeltag.benchmark.report import BenchmarkReport, Row
from reeltag.benchmark.retrieval_entries import RetrievalConfig
from reeltag.benchmark.retrieval_report import RetrievalReport, retrieval_tables
from reeltag.benchmark.retrieval_table import RetrievalRun, run_retrieval
from reeltag.benchmark.runner import run_benchmark
from reeltag.benchmark.runs import Run
from reeltag.benchmark.settings import NOT_IN_MMIMDB, BenchmarkConfig, changed, default_config
from reeltag.benchmark.tables import BENCHMARKS, RETRIEVAL_BENCHMARKS, benchmark

__all__ = [
    "BENCHMARKS",
    "NOT_IN_MMIMDB",
    "PROTOCOLS",
    "RETRIEVAL_BENCHMARKS",
    "Benchmark",
    "BenchmarkConfig",
    "BenchmarkReport",
    "Entry",
    "RetrievalConfig",
    "RetrievalReport",
    "RetrievalRun",
    "Row",
    "Run",
    "Variant",
    "benchmark",
    "changed",
    "default_config",
    "retrieval_tables",
    "run_benchmark",
    "run_retrieval",
    "short_tables",
    "to_markdown",
]
