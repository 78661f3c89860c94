"""The audit: which titles of one split have a near-same title in another, and what fitted parts have seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.catalogue import SPLITS, Catalogue
from reeltag.config import check_range
from reeltag.duplicates import KINDS, DuplicateConfig, Duplicates, Kind, Pairs, find_duplicates
from reeltag.errors import ConfigError
from reeltag.leaks.report import Check, Finding, FittedCheck, LeakReport, Side
from reeltag.progress import Progress

_SHOWN_PLACEHOLDERS = 10


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """How a catalogue is audited.

    Attributes:
        duplicates: When two titles are near-same.
        serious_share: Leaks are serious when they touch this share of the test or the validation titles.
        validation_parts: Fitted parts that are fitted on validation titles by design.
        max_findings: Pairs listed at most; the counts are of all.
    """

    duplicates: DuplicateConfig = field(default_factory=DuplicateConfig)
    serious_share: float = 0.01
    validation_parts: tuple[str, ...] = ("early stopping", "thresholds", "calibrator")
    max_findings: int = 10_000

    def __post_init__(self) -> None:
        check_range("AuditConfig", "serious_share", self.serious_share, 0, 1)
        if self.max_findings < 0:
            raise ConfigError(f"AuditConfig.max_findings must be at least 0; got {self.max_findings}")


@dataclass(frozen=True, kw_only=True)
class _Titles:
    """The titles of one catalogue or two, as far as the report needs them."""

    ids: list[str]
    splits: npt.NDArray[np.str_]
    titles: list[str | None]
    years: list[int | None]
    labels: list[frozenset[str]]

    @classmethod
    def of(cls, catalogue: Catalogue, labels_field: str, default_split: str) -> _Titles:
        absent = [pl.lit(None).alias(name) for name in ("title", "year") if not catalogue.has(name)]
        frame = catalogue.frame.with_columns(absent)
        return cls(
            ids=catalogue.ids,
            splits=_splits(catalogue, default_split),
            titles=frame["title"].to_list(),
            years=frame["year"].to_list(),
            labels=[frozenset(word.casefold() for word in words) for words in catalogue.lists(labels_field)],
        )

    def __add__(self, other: _Titles) -> _Titles:
        return _Titles(
            ids=self.ids + other.ids,
            splits=np.concatenate([self.splits, other.splits]),
            titles=self.titles + other.titles,
            years=self.years + other.years,
            labels=self.labels + other.labels,
        )

    def side(self, row: int) -> Side:
        return Side(id=self.ids[row], split=str(self.splits[row]), title=self.titles[row], year=self.years[row])

    def agree(self, a: int, b: int) -> bool | None:
        return self.labels[a] == self.labels[b] if self.labels[a] and self.labels[b] else None


def audit(
    catalogue: Catalogue,
    *,
    labels_field: str = "genres",
    config: AuditConfig | None = None,
    fitted: Mapping[str, Collection[str]] | None = None,
    progress: Progress | None = None,
) -> LeakReport:
    """Find the near-same titles of a catalogue and tell which of them leak between its splits.

    Args:
        catalogue: Titles without a split count as background.
        labels_field: List field whose labels are compared.
        config: Thresholds.
        fitted: See ``check_fitted``.
        progress: Called with what is being done, how many items are done and how many there are.

    Returns:
        The report; without near-same titles its checks are all zero.

    Raises:
        MissingExtraError: There are posters to compare, and imagehash is not installed.
        CatalogueError: The catalogue has no such label field.
    """
    config = config or AuditConfig()
    titles = _Titles.of(catalogue, labels_field, "background")
    duplicates = find_duplicates(catalogue, config=config.duplicates, progress=progress)
    report_fitted = check_fitted(fitted or {}, catalogue, config=config)
    return _report(titles, duplicates, duplicates.pairs, config, (catalogue.source, report_fitted))


def audit_against(
    catalogue: Catalogue,
    other: Catalogue,
    *,
    labels_field: str = "genres",
    config: AuditConfig | None = None,
    progress: Progress | None = None,
) -> LeakReport:
    """Find the titles of one catalogue that are near-same to titles of another; pairs within either do not count.

    Args:
        catalogue: What a model learns from: titles without a split count as train.
        other: What it is tried on: titles without a split count as test.
        labels_field: List field whose labels are compared.
        config: Thresholds.
        progress: Called with what is being done, how many items are done and how many there are.

    Returns:
        The report; side ``a`` of a finding is a title of ``catalogue``, side ``b`` one of ``other``.

    Raises:
        MissingExtraError: There are posters to compare, and imagehash is not installed.
        CatalogueError: A catalogue has no such label field.
    """
    config = config or AuditConfig()
    titles = _Titles.of(catalogue, labels_field, "train") + _Titles.of(other, labels_field, "test")
    duplicates = find_duplicates(catalogue, other, config=config.duplicates, progress=progress)
    n = len(catalogue)
    between = {kind: pairs.keep((pairs.left < n) & (pairs.right >= n)) for kind, pairs in duplicates.pairs.items()}
    return _report(titles, duplicates, between, config, (f"{catalogue.source} against {other.source}", ()))


def check_fitted(
    fitted: Mapping[str, Collection[str]],
    catalogue: Catalogue,
    *,
    config: AuditConfig | None = None,
    key: Callable[[str], str] | None = None,
) -> tuple[FittedCheck, ...]:
    """Tell which validation and test titles the parts of a model were fitted on.

    Args:
        fitted: For each part (graph, vocabulary, scaler, thresholds …) the ids of the titles it was fitted on.
        catalogue: Says which titles are validation and test.
        config: ``validation_parts``.
        key: Turns an id of the catalogue into what ``fitted`` holds, for example a hash; the id itself when None.

    Returns:
        One check per part, in the order of ``fitted``.
    """
    config = config or AuditConfig()
    keys: dict[str, dict[str, str]] = {split: {} for split in SPLITS}
    for title_id, split in zip(catalogue.ids, _splits(catalogue, "background"), strict=True):
        keys[str(split)][key(title_id) if key else title_id] = title_id
    known = {name for by_key in keys.values() for name in by_key}
    return tuple(
        FittedCheck(
            part=part,
            n_fitted=len(set(seen)),
            n_elsewhere=len(set(seen) - known),
            may_see_validation=part in config.validation_parts,
            test_ids=tuple(sorted(keys["test"][name] for name in keys["test"].keys() & set(seen))),
            validation_ids=tuple(sorted(keys["validation"][name] for name in keys["validation"].keys() & set(seen))),
        )
        for part, seen in fitted.items()
    )


def _report(
    titles: _Titles,
    duplicates: Duplicates,
    pairs: Mapping[Kind, Pairs],
    config: AuditConfig,
    source_and_fitted: tuple[str, tuple[FittedCheck, ...]],
) -> LeakReport:
    counts = Counter(titles.splits.tolist())
    return LeakReport(
        source=source_and_fitted[0],
        n_by_split={split: counts[split] for split in SPLITS},
        checks=tuple(_check(kind, pairs[kind], titles, config) for kind in KINDS),
        fitted=source_and_fitted[1],
        findings=_findings(pairs, titles, config.max_findings),
        notes=_notes(duplicates, config),
    )


def _check(kind: Kind, pairs: Pairs, titles: _Titles, config: AuditConfig) -> Check:
    a, b = titles.splits[pairs.left], titles.splits[pairs.right]
    leaks = _links(a, b, "train", "validation") | _links(a, b, "train", "test")
    background = _links(a, b, "background", "validation") | _links(a, b, "background", "test")
    agreements = [titles.agree(*rows) for rows in zip(pairs.left[leaks], pairs.right[leaks], strict=True)]

    def touched(split: str, by: str) -> int:
        mask = _links(a, b, split, by)
        rows = np.unique(np.concatenate([pairs.left[mask], pairs.right[mask]]))
        return int((titles.splits[rows] == split).sum())

    return Check(
        kind=kind,
        n_pairs=len(pairs),
        n_leaks=int(leaks.sum()),
        n_background=int(background.sum()),
        n_selection=int(_links(a, b, "validation", "test").sum()),
        n_test=int((titles.splits == "test").sum()),
        n_test_touched=touched("test", "train"),
        n_test_background=touched("test", "background"),
        n_validation=int((titles.splits == "validation").sum()),
        n_validation_touched=touched("validation", "train"),
        n_labelled_leaks=sum(agreement is not None for agreement in agreements),
        n_agreeing_leaks=sum(agreement is True for agreement in agreements),
        serious_share=config.serious_share,
    )


def _splits(catalogue: Catalogue, default: str) -> npt.NDArray[np.str_]:
    if not catalogue.has("split"):
        return np.full(len(catalogue), default, np.dtype("<U10"))
    return np.array(catalogue.frame["split"].fill_null(default).to_list(), np.dtype("<U10"))


def _links(a: npt.NDArray[np.str_], b: npt.NDArray[np.str_], one: str, two: str) -> npt.NDArray[np.bool_]:
    linked: npt.NDArray[np.bool_] = ((a == one) & (b == two)) | ((a == two) & (b == one))
    return linked


def _findings(pairs: Mapping[Kind, Pairs], titles: _Titles, limit: int) -> tuple[Finding, ...]:
    """List the pairs: leaks first, then pairs with background, then the rest; within those the most alike first."""
    left = np.concatenate([pairs[kind].left for kind in KINDS])
    right = np.concatenate([pairs[kind].right for kind in KINDS])
    similarity = np.concatenate([pairs[kind].similarity for kind in KINDS])
    kind_number = np.repeat(np.arange(len(KINDS)), [len(pairs[kind]) for kind in KINDS])
    a, b = titles.splits[left], titles.splits[right]
    tried_a, tried_b = np.isin(a, ("validation", "test")), np.isin(b, ("validation", "test"))
    rank = np.where(tried_a & tried_b & (a != b), 2, 3)
    rank[(tried_a & (b == "background")) | (tried_b & (a == "background"))] = 1
    rank[(tried_a & (b == "train")) | (tried_b & (a == "train"))] = 0
    order = np.lexsort((right, left, -similarity, kind_number, rank))[:limit]
    return tuple(
        Finding(
            kind=KINDS[kind_number[n]],
            a=titles.side(int(left[n])),
            b=titles.side(int(right[n])),
            similarity=round(float(similarity[n]), 4),
            labels_agree=titles.agree(left[n], right[n]),
        )
        for n in order
    )


def _notes(duplicates: Duplicates, config: AuditConfig) -> tuple[str, ...]:
    notes = [
        f"{found.field} '{found.example}' stands on {found.n_titles:,} titles: taken for a placeholder, not compared"
        for found in sorted(duplicates.placeholders, key=lambda found: -found.n_titles)[:_SHOWN_PLACEHOLDERS]
    ]
    if len(duplicates.placeholders) > _SHOWN_PLACEHOLDERS:
        notes.append(f"further placeholders: {len(duplicates.placeholders) - _SHOWN_PLACEHOLDERS:,}")
    if duplicates.n_short_texts:
        words = config.duplicates.min_words
        notes.append(f"plots and outlines of under {words} words, not compared: {duplicates.n_short_texts:,}")
    if not config.duplicates.posters:
        notes.append("posters were not compared")
    elif duplicates.n_posters == 0:
        notes.append("no poster could be compared")
    if duplicates.n_broken_posters:
        notes.append(f"posters that cannot be decoded: {duplicates.n_broken_posters:,}")
    if duplicates.n_plain_posters:
        notes.append(f"posters of one even colour, not compared: {duplicates.n_plain_posters:,}")
    return tuple(notes)
