"""Whether sub-genres are found: spaces whose nearest titles are to share words that nobody has learned.

Seed 004 shows what the fine-grained stage retrieves and measures nothing. Here candidates have exactly the genres of
the query, so that genres tell nothing of them, and what they share is counted in tags and keywords.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reeltag.benchmark.entries import Benchmark, Entry
from reeltag.catalogue import Catalogue
from reeltag.config import check_choice, check_range
from reeltag.encoders.trailers.contract import SHOT_MODALITIES
from reeltag.errors import ConfigError, shown
from reeltag.models.gating import GATING_PUBLISHED
from reeltag.recipes import FeatureConfig

RAW, TRAINED, START, PUBLISHED = "raw", "coarse and fine", "fine as it starts", "as published"
SPLITS = ("test", "validation")


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """How neighbours are measured.

    Attributes:
        words: List fields whose shared words count, each alone and all together; no model may have read them.
        split: Whose titles are the queries; candidates are all titles of the splits ``train``, ``validation`` and
            ``test``.
        k: Neighbours that count.
        smallest_pool: Fewest candidates of a query.
    """

    words: tuple[str, ...] = ("tags", "keywords")
    split: str = "test"
    k: int = 10
    smallest_pool: int = 11

    def __post_init__(self) -> None:
        check_choice("RetrievalConfig", "split", self.split, SPLITS)
        check_range("RetrievalConfig", "k", self.k, 1, 10_000)
        check_range("RetrievalConfig", "smallest_pool", self.smallest_pool, 2, 1_000_000)
        if not self.words or len(set(self.words)) < len(self.words):
            got = ", ".join(self.words) or "none"
            raise ConfigError(f"RetrievalConfig.words must name one list field or more, each once; got {got}")

    @property
    def sets(self) -> dict[str, tuple[str, ...]]:
        """Fields by the name of what is counted: each alone, and all together where there are several."""
        alone: dict[str, tuple[str, ...]] = {name: (name,) for name in self.words}
        return alone if len(alone) == 1 else {**alone, " + ".join(self.words): self.words}

    def check_unread(self, features: FeatureConfig, label_field: str, catalogue: Catalogue) -> None:
        """Raise ConfigError unless the catalogue has the words and no model reads or learns them."""
        read = {label_field: "that is learned"}
        if "fields" in features.modalities:
            read |= dict.fromkeys(features.fields, "that the models read (features.fields)")
        if "credits" in features.modalities and "votes" in features.credit_features:
            read |= dict.fromkeys(features.vote_fields, "that the models read in credits (features.vote_fields)")
        for name in self.words:
            if name in read:
                raise ConfigError(f"RetrievalConfig.words must not name a field {read[name]}; got {shown(name)}")
            if not catalogue.has(name):
                raise ConfigError(f"RetrievalConfig.words must name list fields of the catalogue; got {shown(name)}")


def retrieval_rows(modalities: Sequence[str]) -> tuple[Entry, ...]:
    """Return what spaces are made of, for some experts: blocks as they are, and models of collaborative gating."""
    reads = tuple(modalities)
    return (
        Entry(label=RAW, reads=reads, why_not="nothing is trained"),
        _gated(TRAINED, {}, reads),
        _gated(START, {"fine": {"epochs": 0}}, reads),
        _gated(PUBLISHED, GATING_PUBLISHED, reads),
    )


def _gated(label: str, settings: dict[str, Any], reads: tuple[str, ...]) -> Entry:
    tokens = not set(reads).isdisjoint(SHOT_MODALITIES)
    return Entry(label=label, model="gating", settings=settings, reads=reads, tokens=tokens)


RETRIEVAL_TABLE = Benchmark(
    name="retrieval-table",
    title="Words that the nearest titles of the same genres share",
    entries=retrieval_rows(("plot", "poster", "credits")),
    rows_of=retrieval_rows,
    reference=TRAINED,
    features={"modalities": ["plot", "poster", "credits"], "tokens": list(SHOT_MODALITIES)},
)
