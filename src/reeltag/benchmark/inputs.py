"""What the entries of a benchmark read: computed when first asked for, once per protocol and graph scorer.

Trained graph embeddings are kept in the folder of the benchmark, so that an interrupted run does not train them again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reeltag.benchmark.entries import Entry
from reeltag.benchmark.protocols import Partition, Rows
from reeltag.benchmark.settings import BenchmarkConfig, graph_config
from reeltag.catalogue import Catalogue
from reeltag.config import to_json
from reeltag.encoders.store import FeatureStore
from reeltag.errors import FeatureError
from reeltag.features import Block, Features, modality_of
from reeltag.files import atomic_folder
from reeltag.graph.link_credits import LinkCreditConfig, SumCredits
from reeltag.models.contract import PEOPLE, STANDING
from reeltag.pipeline import FeaturePipeline
from reeltag.progress import Progress, silent
from reeltag.recipes import FeatureConfig

PROFILE, SUM = "credits.profile", "credits.sum"
_JOINT = "joint"


class Inputs:
    """The features of the titles of a partition.

    Args:
        catalogue: The titles.
        part: Who learns from what.
        config: Settings of the benchmark.
        folder: Where graph embeddings are kept.
        cache: Folder for vectors of pre-trained encoders; the user's cache folder when None.
        progress: Called as the work advances.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        part: Partition,
        config: BenchmarkConfig,
        *,
        folder: Path,
        cache: Path | None = None,
        progress: Progress = silent,
    ) -> None:
        self.part, self.config = part, config
        self.features_config = _feature_config(config)
        self.fitted_on: dict[str, list[str]] = {}
        self._catalogue, self._folder, self._progress = catalogue, folder, progress
        self._store = FeatureStore(cache)
        self._rows = part.rows
        self._base: Features | None = None
        self._sums: dict[str, tuple[Block, npt.NDArray[np.float32]]] = {}  # scorer -> sums, label vectors
        self.fingerprint = catalogue.fingerprint()
        self._content = f"{self.fingerprint}-{_poster_digest(catalogue, config.features)}-{part.digest()}"

    def why_not(self, entry: Entry) -> str:
        """Return why an entry cannot be run here; "" when it can."""
        if entry.joint and not self._joint_block(entry):
            return f"not run: needs weights (--joint-encoder {entry.joint}:MODEL)"
        return entry.why_not

    def lacks(self, entry: Entry) -> str:
        """Return why an entry cannot learn here, of what the titles have; "" when it can. Reads every title."""
        base, joint, credits = self._all(), self._joint_block(entry), self._credits(entry)
        read = self._read_of_base(entry, joint)
        training = np.searchsorted(self._rows, self.part.train)
        there = any(base.blocks[name].present[training].any() for name in read if name not in (STANDING, PEOPLE))
        if there or (credits == SUM and self._has_credits()):
            return ""
        return "not run: nothing that it reads is there"

    def describe(self, entry: Entry) -> dict[str, object]:
        """Return everything that the features of an entry depend on, as JSON values."""
        reads: dict[str, object] = {
            "content": self._content,
            "protocol": self.part.protocol,
            "features": to_json(self.features_config if entry.joint else _without_joint(self.features_config)),
            "credits": self._credits(entry),
            "side": sorted(entry.side),
            "joint": self._joint_block(entry),
        }
        if self._needs_graph(entry):
            reads["graph"] = to_json(graph_config(entry.scorer, self.config.graph))
            reads["graph_seed"] = self.config.splits.seed
            reads["label_vectors"] = entry.label_vectors
        return reads

    def of(self, entry: Entry, rows: Rows) -> Features:
        """Return what an entry reads of titles.

        Args:
            entry: The entry.
            rows: Row numbers in the catalogue, all of them in the partition.

        Raises:
            FeatureError: Nothing that the entry reads is there.
        """
        base = self._all()
        blocks = {name: base.blocks[name] for name in self._read_of_base(entry, self._joint_block(entry))}
        if self._credits(entry) == SUM and self._has_credits():
            blocks[SUM] = self._sum(entry.scorer)[0]
        if not blocks:
            raise FeatureError(f"entry '{entry.label}': no title has anything that it reads")
        return Features(base.ids, blocks).take(np.searchsorted(self._rows, rows))

    def label_vectors(self, entry: Entry) -> npt.NDArray[np.float32] | None:
        """Return the labels' vectors for an entry that takes them, (n_labels, dim); None without credits."""
        if not entry.label_vectors:
            return None
        self._all()
        return self._sum(entry.scorer)[1] if self._has_credits() else None

    def _read_of_base(self, entry: Entry, joint: str) -> list[str]:
        """Return the names of the blocks that an entry reads, but the sums."""
        names = list(self._all().blocks)
        if joint:
            return [name for name in names if name == joint]
        left_out = {PROFILE, STANDING, PEOPLE}
        read = [name for name in names if name not in left_out and modality_of(name) != _JOINT]
        wanted = [*entry.side, *([PROFILE] if self._credits(entry) == PROFILE else [])]
        return [*read, *(name for name in wanted if name in names)]

    def _credits(self, entry: Entry) -> str:
        if entry.joint or entry.credits == "none":
            return ""
        return SUM if entry.credits == "sum" or self.part.protocol == "published" else PROFILE

    def _needs_graph(self, entry: Entry) -> bool:
        return entry.label_vectors or self._credits(entry) == SUM

    def _joint_block(self, entry: Entry) -> str:
        """Return the name of the joint block of an entry's encoder; "" when it has none."""
        pairs = self.config.features.encoders_of(_JOINT) if entry.joint else []
        return next((name for name, spec in pairs if spec.startswith(f"{entry.joint}:")), "")

    def _has_credits(self) -> bool:
        return any(modality_of(name) == "credits" for name in self._all().blocks)

    def _all(self) -> Features:
        """Return every block but the sums, for all titles of the partition."""
        if self._base is None:
            part, films = self.part, self._catalogue
            pipeline = FeaturePipeline(self.features_config).fit(
                films.take(part.train),
                films.take(part.graph),
                part.targets[part.graph],
                seed=self.config.splits.seed,
                progress=self._progress,
            )
            self.fitted_on = pipeline.fitted_on_
            self._base = pipeline.transform(films.take(self._rows), self._store, self._progress)
        return self._base

    def _sum(self, scorer: str) -> tuple[Block, npt.NDArray[np.float32]]:
        if scorer not in self._sums:
            credits = self._trained(scorer)
            self._sums[scorer] = credits.transform(self._catalogue.take(self._rows)), credits.label_vectors
        return self._sums[scorer]

    def _trained(self, scorer: str) -> SumCredits:
        """Return the embedding of the credits graph, trained now or in an earlier run."""
        config = LinkCreditConfig(titles=self.config.features.links.titles,
                                  embedding=graph_config(scorer, self.config.graph))  # fmt: skip
        roles, seed = self.config.features.credits.roles, self.config.splits.seed
        told = [self._content, self.part.protocol, to_json(config), list(roles), seed]
        folder = self._folder / f"{scorer}-{digest(told)}"
        if folder.is_dir():
            return SumCredits.load(folder)
        films = self._catalogue.take(self.part.graph)
        stage: Progress = lambda name, done, total: self._progress(f"{scorer}: {name}", done, total)  # noqa: E731
        trained = SumCredits(config, roles).fit(films, self.part.targets[self.part.graph], seed=seed, progress=stage)
        with atomic_folder(folder) as temporary:
            trained.save(temporary)
        return trained


def digest(data: object) -> str:
    """Return a short hash of JSON values."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def _feature_config(config: BenchmarkConfig) -> FeatureConfig:
    """Return what the pipeline reads: under ``published`` no profile, and nobody is left out of the own credits."""
    published = config.protocol == "published"
    side = ("standing", "people")
    credits = replace(config.features.credits, leave_one_out=False) if published else config.features.credits
    return replace(config.features, credit_features=side if published else ("profile", *side), credits=credits)


def _without_joint(config: FeatureConfig) -> FeatureConfig:
    """Return the settings without the modality that only entries of joint encoders read."""
    kept = tuple(modality for modality in config.modalities if modality != _JOINT)
    return replace(config, modalities=kept or config.modalities, joint_encoders=())


def _poster_digest(catalogue: Catalogue, features: FeatureConfig) -> str:
    """Return a hash of which titles have a poster; "" when none is read."""
    if not {"poster", _JOINT} & set(features.modalities):
        return ""
    return hashlib.sha256(catalogue.posters.present(catalogue.ids).tobytes()).hexdigest()[:8]
