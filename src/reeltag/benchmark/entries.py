"""What is measured: a row is a model with its settings and what it reads, a benchmark some rows and their reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reeltag.benchmark.published import METRICS, PUBLISHED, Paper, PublishedRow
from reeltag.config import check_range
from reeltag.errors import ConfigError, shown

SCORER = "rotate"  # of tables 2, 3 and 5
Credits = Literal["protocol", "sum", "none"]
Drawing = Literal["table", "bars", "curve", "cases"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row: a model, its settings and what it reads of a title.

    Attributes:
        label: Name that is shown.
        model: Name of a model; "" for a row that is never run.
        settings: Settings of the model that are not its defaults.
        reads: Modalities that are read, as far as they are there; empty to read everything but ``joint`` and
            ``poster_text``.
        blocks: Names of the only blocks that are read of them, such as ``plot.tfidf``; empty for all.
        tokens: Read the modalities of ``features.tokens`` as sequences of vectors, not as one vector per title.
        credits: ``protocol`` reads the credits as the protocol has them, ``sum`` as the sum of the people's vectors,
            ``none`` not at all.
        side: Blocks that are no input of a network but read all the same: ``credits.standing``, ``credits.people``.
        joint: Prefix of the joint encoder (``blip``) whose block is all that is read; "" for none.
        label_vectors: Give the model the labels' vectors of the graph embedding.
        scorer: Scorer of that embedding.
        published: Table and row of a paper's figures.
        x: Place on the axis of a curve.
        why_not: Why a row is never run.
    """

    label: str
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    tokens: bool = False
    credits: Credits = "protocol"
    side: tuple[str, ...] = ()
    joint: str = ""
    label_vectors: bool = False
    scorer: str = SCORER
    published: tuple[str, str] | None = None
    x: float | None = None
    why_not: str = ""

    @property
    def published_row(self) -> PublishedRow | None:
        """The paper's figures, if it has any."""
        return None if self.published is None else PUBLISHED[self.published[0]][self.published[1]]

    @property
    def reads_credits(self) -> bool:
        """Whether credits are read at all."""
        return not self.joint and self.credits != "none" and (not self.reads or "credits" in self.reads)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The test titles with something about their posters changed.

    Attributes:
        name: What is shown.
        scale: What the width and height of the posters are multiplied by.
        ocr: OCR engine that reads their words in place of the configured one; "" for that one.
        hidden: Modality that every title lacks; "" for none.
    """

    name: str
    scale: float = 1.0
    ocr: str = ""
    hidden: str = ""

    def __post_init__(self) -> None:
        check_range("Variant", "scale", self.scale, 0.01, 1)

    def concerns(self, entry: Entry) -> bool:
        """Return whether a variant changes what an entry reads, and leaves it something to read."""
        if self.hidden:
            return self.hidden in entry.reads and len(entry.reads) > 1
        return "poster_text" in entry.reads or (not self.ocr and "poster" in entry.reads)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A table or figure.

    Attributes:
        name: Name of the recipe.
        title: What it shows.
        entries: Its rows; with ``rows_of`` those that are listed.
        reference: Label of the row that all others are tested against.
        draws: ``table`` only, or also ``bars`` per label, a ``curve`` over ``x``, or ``cases``.
        paper: The paper it repeats; None for none.
        source: Table or figure of that paper.
        features: Settings of ``FeatureConfig`` that are not its defaults: what there is to be read.
        run: Settings of ``BenchmarkConfig`` that are not its defaults: labels, and which titles are learned from.
        metrics: Figures shown at each threshold; those of ``RANKING_METRICS`` are the same at any.
        examined: Labels of the rows that are also reported by decade, and under the variants.
        variants: Changes of the test titles that these rows are read again with, once trained.
        long_tail: Report what rows are worth on rare labels: ranking figures, macro F1 of head, middle and tail.
        rows_of: Makes the rows from the modalities that are asked for, in their order; None where they are fixed.
    """

    name: str
    title: str
    entries: tuple[Entry, ...]
    reference: str
    draws: Drawing = "table"
    paper: Paper | None = None
    source: str = ""
    features: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = METRICS
    examined: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    long_tail: bool = False
    rows_of: Callable[[Sequence[str]], tuple[Entry, ...]] | None = None

    def reading(self, modalities: Sequence[str]) -> Benchmark:
        """Return the benchmark with the rows for the modalities that are asked for.

        Raises:
            ConfigError: It has no rows for them.
        """
        return self if self.rows_of is None else replace(self, entries=self.rows_of(modalities))

    def select(self, labels: Iterable[str]) -> tuple[Entry, ...]:
        """Return the rows of the given labels, in the order of the benchmark; all of them when there are none.

        Raises:
            ConfigError: There is no such row.
        """
        wanted, known = list(labels), [entry.label for entry in self.entries]
        for label in wanted:
            if label not in known:
                raise ConfigError(f"{self.name} has no entry {shown(label)}; known: {', '.join(known)}")
        return tuple(entry for entry in self.entries if not wanted or entry.label in wanted)

    def variants_of(self, entry: Entry) -> tuple[Variant, ...]:
        """Return the changes of the test titles that an entry is read again with."""
        return tuple(v for v in self.variants if entry.label in self.examined and v.concerns(entry))
