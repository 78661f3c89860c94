"""What the entries of a benchmark read: computed when first asked for, once per protocol, graph scorer and variant.

Posters and texts are read as pooled vectors, and once more as tokens where an entry asks for them.

Trained graph embeddings are kept in the folder of the benchmark, so that an interrupted run does not train them again.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.benchmark.entries import Entry, Variant
from reeltag.benchmark.protocols import Partition, Rows
from reeltag.benchmark.settings import BenchmarkConfig, graph_config
from reeltag.benchmark.variants import engine_missing, varied
from reeltag.catalogue import Catalogue
from reeltag.config import to_json
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.trailers.contract import SHOT_MODALITIES
from reeltag.errors import FeatureError
from reeltag.features import Block, Features, modality_of
from reeltag.files import atomic_folder
from reeltag.graph.link_credits import LinkCreditConfig, SumCredits
from reeltag.models.contract import PEOPLE, STANDING
from reeltag.pipeline import FeaturePipeline
from reeltag.progress import Progress, silent
from reeltag.recipes import FeatureConfig

PROFILE, SUM, VOTES = "credits.profile", "credits.sum", "credits.votes"
_JOINT, _WORDS = "joint", "poster_text"
_NEWER = ("vote_fields", "fields")  # settings newer than kept runs, told where they are not empty
# settings that only entries which name their modalities depend on
_NAMED_ONLY = ("poster_text_encoders", "ocr_engine", "tokens", "patch_grid", "token_limit", "shot_limit")
# settings that only entries which read trailers depend on
_OF_TRAILERS = (*(f"{modality}_encoders" for modality in SHOT_MODALITIES), "shots", "shot_limit")


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
        self._contents: dict[tuple[bool, bool], str] = {}  # by whether posters, and trailers, are read
        self._pipelines: dict[bool, FeaturePipeline] = {}  # by whether tokens are read
        self._base: dict[bool, Features] = {}
        self._varied: dict[tuple[Variant, bool], Features] = {}
        self._sums: dict[str, tuple[Block, npt.NDArray[np.float32]]] = {}  # scorer -> sums, label vectors
        self.fingerprint = catalogue.fingerprint()
        read = set(config.features.modalities)
        self._content = self._content_with(bool({"poster", _JOINT} & read), bool({*SHOT_MODALITIES} & read))

    def why_not(self, entry: Entry) -> str:
        """Return why an entry cannot be run here; "" when it can."""
        if entry.joint and not self._joint_block(entry):
            return f"not run: needs weights (--joint-encoder {entry.joint}:MODEL)"
        return entry.why_not

    def why_not_varied(self, variant: Variant) -> str:
        """Return why a variant of the test titles cannot be read here; "" when it can."""
        return engine_missing(variant.ocr, self.features_config.ocr_engine) if variant.ocr else ""

    def lacks(self, entry: Entry) -> str:
        """Return why an entry cannot learn here, of what the titles have; "" when it can. Reads every title."""
        base, credits = self._all(entry.tokens), self._credits(entry)
        training = np.searchsorted(self._rows, self.part.train)
        masks = {name: block.present for name, block in base.blocks.items()}
        masks |= {name: block.present for name, block in base.tokens.items()}
        if any(masks[name][training].any() for name in self._names(entry, base) if name not in (STANDING, PEOPLE)):
            return ""
        if credits == SUM and self._has_credits():
            return ""
        return "not run: nothing that it reads is there"

    def describe(self, entry: Entry) -> dict[str, object]:
        """Return everything that the features of an entry depend on, as JSON values."""
        content = self._content
        if entry.reads:
            read = set(self._read(entry))
            content = self._content_with(bool({"poster", _WORDS} & read), bool({*SHOT_MODALITIES} & read))
        reads: dict[str, object] = {
            "content": content,
            "protocol": self.part.protocol,
            "features": self._told(entry),
            "credits": self._credits(entry),
            "side": sorted(self._side(entry)),
            "joint": self._joint_block(entry),
            **({"blocks": list(entry.blocks)} if entry.blocks else {}),
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
        return self._of(entry, self._all(entry.tokens), np.searchsorted(self._rows, rows))

    def of_test(self, entry: Entry, variant: Variant) -> Features:
        """Return what an entry reads of the test titles under a variant.

        Raises:
            EncoderError: An OCR engine failed.
        """
        test = self.part.test
        if variant.hidden:
            return self.of(entry, test).without(variant.hidden)
        key = (variant, entry.tokens)
        if key not in self._varied:
            stage: Progress = lambda name, done, total: self._progress(f"{variant.name}: {name}", done, total)  # noqa: E731
            pipeline, films = self._pipeline(entry.tokens), self._catalogue.take(test)
            self._varied[key] = varied(variant, pipeline, films, self._store, stage)
        return self._of(entry, self._varied[key], np.arange(len(test)), test)

    def label_vectors(self, entry: Entry) -> npt.NDArray[np.float32] | None:
        """Return the labels' vectors for an entry that takes them, (n_labels, dim); None without credits."""
        if not entry.label_vectors:
            return None
        return self._sum(entry.scorer)[1] if self._has_credits() else None

    def _of(self, entry: Entry, base: Features, places: Rows, rows: Rows | None = None) -> Features:
        """Return what an entry reads of the titles at places of ``base``; ``rows`` are theirs when base is not all."""
        names = self._names(entry, base)
        read = Features(
            base.ids,
            {name: block for name, block in base.blocks.items() if name in names},
            {name: block for name, block in base.tokens.items() if name in names},
        ).take(places)
        blocks = {name: read.blocks[name] for name in names if name in read.blocks}
        if self._credits(entry) == SUM and self._has_credits():
            there = places if rows is None else np.searchsorted(self._rows, rows)
            blocks[SUM] = self._sum(entry.scorer)[0].take(there)
        if not (blocks or read.tokens):
            raise FeatureError(f"entry '{entry.label}': no title has anything that it reads")
        return Features(read.ids, blocks, read.tokens)

    def _names(self, entry: Entry, base: Features) -> list[str]:
        """Return the names of the blocks that an entry reads, but the sums."""
        names, joint = [*base.blocks, *base.tokens], self._joint_block(entry)
        if joint:
            return [name for name in names if name == joint]
        left_out = {PROFILE, STANDING, PEOPLE}
        if not entry.reads_credits:
            left_out |= {name for name in names if modality_of(name) == "credits"}
        read = [name for name in names if name not in left_out and self._is_read(entry, modality_of(name))]
        if entry.blocks:
            read = [name for name in read if name in entry.blocks]
        wanted = [*self._side(entry), *([PROFILE] if self._credits(entry) == PROFILE else [])]
        return [*read, *(name for name in wanted if name in names)]

    def _is_read(self, entry: Entry, modality: str) -> bool:
        return modality in entry.reads if entry.reads else modality not in (_JOINT, _WORDS)

    def _read(self, entry: Entry) -> tuple[str, ...]:
        """Return the modalities that an entry reads, in the order of the settings."""
        return tuple(modality for modality in self.features_config.modalities if self._is_read(entry, modality))

    def _side(self, entry: Entry) -> tuple[str, ...]:
        return entry.side if self._is_read(entry, "credits") else ()

    def _told(self, entry: Entry) -> dict[str, Any]:
        """Return the settings of the features that an entry depends on.

        One that names its modalities depends on theirs alone, any other on all settings that are not of the words on
        posters or of tokens: those are newer than its kept runs.
        """
        config, read = self.features_config, self._read(entry)
        if not entry.reads:
            kept = config if entry.joint else replace(config, modalities=read or config.modalities, joint_encoders=())
            newer = () if entry.tokens else _NAMED_ONLY
            return {name: value for name, value in _without_newer(kept).items() if name not in newer}
        tokens = [modality for modality in read if modality in config.tokens] if entry.tokens else []
        wanted = {f"{modality}_encoders" for modality in read}
        wanted |= {"ocr_engine"} if _WORDS in read else set()
        wanted |= {"credit_features", "credits", "links", "vote_fields"} if "credits" in read else set()
        wanted |= {"fields"} if "fields" in read else set()
        wanted |= {"patch_grid"} if "poster" in tokens else set()
        wanted |= {"token_limit"} if set(tokens) - {"poster", *SHOT_MODALITIES} else set()
        wanted |= {"shots"} if set(read) & set(SHOT_MODALITIES) else set()
        wanted |= {"shot_limit"} if set(tokens) & set(SHOT_MODALITIES) else set()
        told = {name: value for name, value in _without_newer(config).items() if name in wanted}
        return {"modalities": list(read), "tokens": tokens, **told}

    def _content_with(self, posters: bool, trailers: bool) -> str:
        """Return a hash of titles and roles; of which titles have a poster, or a trailer, too, where it is read."""
        if (posters, trailers) not in self._contents:
            there = ""
            for place, is_read in ((self._catalogue.posters, posters), (self._catalogue.trailers, trailers)):
                if is_read:
                    there += hashlib.sha256(place.present(self._catalogue.ids).tobytes()).hexdigest()[:8]
            self._contents[posters, trailers] = f"{self.fingerprint}-{there}-{self.part.digest()}"
        return self._contents[posters, trailers]

    def _credits(self, entry: Entry) -> str:
        if not entry.reads_credits:
            return ""
        if entry.credits == "sum" or self.part.protocol == "published":
            return SUM
        return VOTES if "votes" in self.features_config.credit_features else PROFILE

    def _needs_graph(self, entry: Entry) -> bool:
        return entry.label_vectors or self._credits(entry) == SUM

    def _joint_block(self, entry: Entry) -> str:
        """Return the name of the joint block of an entry's encoder; "" when it has none."""
        pairs = self.config.features.encoders_of(_JOINT) if entry.joint else []
        return next((name for name, spec in pairs if spec.startswith(f"{entry.joint}:")), "")

    def _has_credits(self) -> bool:
        base = next(iter(self._base.values())) if self._base else self._all(tokens=False)
        return any(modality_of(name) == "credits" for name in base.blocks)

    def _all(self, tokens: bool) -> Features:
        """Return every block but the sums, for all titles of the partition; vectors alone unless tokens are asked."""
        tokens = tokens and bool(self.features_config.tokens)
        if tokens not in self._base:
            pipeline = self._pipeline(tokens)
            films = self._catalogue.take(self._rows)
            self._base[tokens] = pipeline.transform(films, self._store, self._progress)
        return self._base[tokens]

    def _pipeline(self, tokens: bool) -> FeaturePipeline:
        """Return the fitted pipeline that reads vectors, or the same that reads tokens."""
        if not self._pipelines:
            part, films = self.part, self._catalogue
            plain = FeaturePipeline(replace(self.features_config, tokens=())).fit(
                films.take(part.train),
                films.take(part.graph),
                part.targets[part.graph],
                wider=films.take(self._wider()),
                seed=self.config.splits.seed,
                progress=self._progress,
            )
            self.fitted_on = plain.fitted_on_
            reader = copy.copy(plain)
            reader.config = self.features_config
            self._pipelines = {False: plain, True: reader}
        return self._pipelines[tokens]

    def _wider(self) -> Rows:
        """Return the titles whose other list fields people vote on: those of the graph, and background without labels.

        Under ``published`` nothing is voted on.
        """
        graph = self.part.graph
        if not self.features_config.credits.background:
            return graph
        return np.union1d(graph, self._catalogue.rows_of("background"))

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


def _without_newer(config: FeatureConfig) -> dict[str, Any]:
    """Return settings as JSON values, without those that kept runs did not know yet and that are empty or of no use."""
    told = {name: value for name, value in to_json(config).items() if value or name not in _NEWER}
    if set(config.modalities) & set(SHOT_MODALITIES):
        return told
    return {name: value for name, value in told.items() if name not in _OF_TRAILERS}


def _feature_config(config: BenchmarkConfig) -> FeatureConfig:
    """Return what the pipeline reads: under ``published`` no profile, and nobody is left out of the own credits.

    Where votes are asked for they are all that is read of the graph: profiles of thousands of labels would not fit.
    """
    published = config.protocol == "published"
    if "votes" in config.features.credit_features and not published:
        return replace(config.features, credit_features=("votes",))
    side = ("standing", "people")
    credits = replace(config.features.credits, leave_one_out=False) if published else config.features.credits
    return replace(config.features, credit_features=side if published else ("profile", *side), credits=credits)
