"""From titles to features: the encoders and the credits graph of one tagger, each fitted on its own fold only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.catalogue import Catalogue
from reeltag.encoders import TextEncoder, open_text_encoder
from reeltag.encoders.contract import PatchEncoder, PieceEncoder, has_content, titles_seen_by
from reeltag.encoders.fields import FieldEncoder
from reeltag.encoders.ocr import OcrEngine, open_ocr_engine
from reeltag.encoders.ocr.words import PosterText
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.tfidf import TfidfEncoder
from reeltag.encoders.trailers.contract import SHOT_MODALITIES
from reeltag.encoders.year import encode_years
from reeltag.errors import EncoderError, FeatureError
from reeltag.features import Block, Features, TokenBlock, modality_of
from reeltag.graph.credits import CreditProfile
from reeltag.graph.link_credits import LinkCredits, SumCredits
from reeltag.graph.votes import CreditVotes
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.media import MEDIA_MODALITIES, Blocks, MediaReaders, media_present, model_of
from reeltag.progress import Progress, silent
from reeltag.recipes import FeatureConfig

VOTES = "votes"
MIN_VOTED = 20  # films with a label of another field than the learned one, for it to be voted on,
SMALL = 1000  # in catalogues of more films than this; in smaller ones one film is enough
_OCR = "ocr"  # the engine that reads words on posters, among the fingerprints

# credit features that are read from the credits graph, and those that fit an embedding of their own
GRAPH_READERS: dict[str, Callable[[CreditProfile, Catalogue], Block]] = {
    "profile": CreditProfile.transform,
    "standing": CreditProfile.standing,
    "people": CreditProfile.people,
}
CREDIT_LINKS: dict[str, type[LinkCredits] | type[SumCredits]] = {"links": LinkCredits, "sum": SumCredits}


class FeaturePipeline:
    """Turns catalogues into features.

    Args:
        config: What is read of a title.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self.credit_graph: CreditProfile | None = None  # behind any of GRAPH_READERS
        self.credit_links: dict[str, LinkCredits | SumCredits] = {}  # name of the feature -> what was fitted
        self.credit_votes: dict[str, CreditVotes] = {}  # ``votes``, or ``votes_FIELD`` of another field
        self._fields: dict[str, FieldEncoder] = {}  # block name -> encoder
        self.absent_: tuple[str, ...] = ()
        self.fitted_on_: dict[str, list[str]] = {}
        self._texts: dict[str, TextEncoder] = {}  # block name -> encoder
        self._media = MediaReaders()
        self._expected: dict[str, str] = {}  # block name, or ``ocr``: fingerprint at training

    @property
    def credits(self) -> CreditProfile | None:
        """The credits graph when ``profile`` is read, whose counts explanations name people by; else None."""
        return self.credit_graph if "profile" in self.config.credit_features else None

    @property
    def credit_readers(self) -> dict[str, Callable[[Catalogue], Block]]:
        """From block name to what reads it from the credits of titles, of every credit block."""
        readers: dict[str, Callable[[Catalogue], Block]] = {}
        if self.credit_graph is not None:
            for name, reader in GRAPH_READERS.items():
                if name in self.config.credit_features:
                    readers[f"credits.{name}"] = partial(reader, self.credit_graph)
        fitted = {**self.credit_votes, **self.credit_links}
        return readers | {f"credits.{name}": one.transform for name, one in fitted.items()}

    @property
    def label_vectors(self) -> npt.NDArray[np.float32] | None:
        """Vectors of the labels in the graph embedding behind ``sum``, (n_labels, dim); None without."""
        fitted = self.credit_links.get("sum")
        return fitted.label_vectors if isinstance(fitted, SumCredits) else None

    def fit(
        self,
        training: Catalogue,
        graph_films: Catalogue,
        graph_targets: npt.NDArray[np.float32] | sp.csr_matrix,
        *,
        wider: Catalogue | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> FeaturePipeline:
        """Fit what has to be fitted.

        Args:
            training: Training titles: vocabularies are learned from them.
            graph_films: Titles that feed the credits graph: training titles, and background ones by choice.
            graph_targets: Their labels, 0 and 1, dense or sparse, (n_graph_films, n_labels).
            wider: Titles whose other list fields are voted on: all training and background titles, also those whose
                labels are unknown; the titles of the graph when None.
            seed: Of the graph embeddings, if any.
            progress: Called while graph embeddings are trained.

        Raises:
            FeatureError: No configured modality is there for any training title.
            EncoderError: A model that reads posters or trailers cannot be found.
        """
        self.credit_graph, self.credit_links, self._expected, self.fitted_on_ = None, {}, {}, {}
        self._texts, self._media, self._fields, self.credit_votes = {}, MediaReaders(), {}, {}
        absent = [modality for modality in self.config.modalities if not self._is_there(modality, training)]
        self.absent_ = tuple(absent)
        for name, spec in self._specs():
            self._open(name, spec)
        self._media.load(self.config)
        if self._reads("poster_text"):
            _ = open_ocr_engine(self.config.ocr_engine).fingerprint  # and of the engine
        self._fit_texts(training)
        if self._reads("credits"):
            self._fit_credits(graph_films, graph_targets, seed, progress)
            self._fit_votes(graph_films, graph_targets, graph_films if wider is None else wider)
        if len(absent) == len(self.config.modalities):
            raise FeatureError(f"no training title has any of: {', '.join(absent)}{_hint(absent)}")
        return self

    def transform(self, catalogue: Catalogue, store: FeatureStore, progress: Progress = silent) -> Features:
        """Return the features of titles.

        Args:
            catalogue: The titles; those the credits graph was built from are left out of their own counts.
            store: Where vectors of pre-trained encoders are kept.
            progress: Called while new texts, posters and trailers are encoded.

        Raises:
            EncoderError: A pre-trained model differs from the one the tagger was trained with.
        """
        for name, fingerprint in self._fingerprints().items():
            if not isinstance(self._texts.get(name), TfidfEncoder):
                self._check(name, fingerprint)
        blocks: dict[str, Block] = {}
        tokens: dict[str, TokenBlock] = {}
        self._read_texts(catalogue, store, progress, into=(blocks, tokens))
        if self._reads("year"):
            blocks["year"] = encode_years(catalogue.years())
        for name, field in self._fields.items():
            there = catalogue.has(field.field)  # a catalogue to be tagged may lack the column
            blocks[name] = field.encode(catalogue.lists(field.field) if there else [[]] * len(catalogue))
        for name, read in self.credit_readers.items():
            blocks[name] = read(catalogue)
        plots = read_texts(catalogue, "plot") if self._media.pairs else []
        self._media.read(self.config, catalogue, store, progress, plots=plots, into=(blocks, tokens))
        return Features(catalogue.ids, blocks, tokens)

    def words(self, catalogue: Catalogue, store: FeatureStore, progress: Progress = silent) -> list[PosterText | None]:
        """Return the words on the posters of titles, as the OCR engine found them; None where there is no poster."""
        return store.read_words(self._engine(), catalogue.posters, catalogue.ids, progress)

    def with_ocr(self, engine: str) -> FeaturePipeline:
        """Return a pipeline, fitted alike, that has the words on posters read by another OCR engine."""
        other = copy.copy(self)
        other.config = replace(self.config, ocr_engine=engine)
        other._expected = {name: told for name, told in self._expected.items() if name != _OCR}
        return other

    @property
    def patch_encoders(self) -> dict[str, PatchEncoder]:
        """The encoders of posters that are read as patches, by block name."""
        return self._media.patch_encoders(self.config)

    @property
    def unreadable_trailers(self) -> dict[str, str]:
        """Why a trailer could not be read, by title, of all that ``transform`` was to read."""
        return dict(self._media.unreadable)

    @property
    def piece_encoders(self) -> dict[str, PieceEncoder]:
        """The encoders of texts that are read as word pieces, by block name."""
        read = [(name, e) for name, e in self._texts.items() if modality_of(name) in self.config.tokens]
        return {name: encoder for name, encoder in read if isinstance(encoder, PieceEncoder)}

    def save(self, folder: Path) -> dict[str, object]:
        """Write the fitted parts; return what ``load`` needs besides."""
        for name, encoder in self._texts.items():
            if isinstance(encoder, TfidfEncoder):
                encoder.save(folder / name)
        if self.credit_graph is not None:
            self.credit_graph.save(folder / "credits")
        for name, fitted in {**self.credit_links, **self.credit_votes}.items():
            fitted.save(folder / f"credits.{name}")
        for name, field in self._fields.items():
            field.save(folder / name)
        models = self._fingerprints()
        if self._reads("poster_text"):
            models[_OCR] = open_ocr_engine(self.config.ocr_engine).fingerprint
        told: dict[str, object] = {"absent": list(self.absent_), "encoders": models}
        return told | ({"votes": list(self.credit_votes)} if self.credit_votes else {})

    @classmethod
    def load(
        cls, folder: Path, config: FeatureConfig, absent: list[str], encoders: dict[str, str], votes: Sequence[str] = ()
    ) -> FeaturePipeline:
        """Read what ``save`` wrote."""
        pipeline = cls(config)
        pipeline.absent_, pipeline._expected = tuple(absent), dict(encoders)
        for name, spec in pipeline._specs():
            if spec == "tfidf":
                pipeline._texts[name] = TfidfEncoder.load(folder / name)
            else:
                pipeline._open(name, spec)
        if pipeline._reads("credits"):
            if set(config.credit_features) & set(GRAPH_READERS):
                pipeline.credit_graph = CreditProfile.load(folder / "credits")
            names = [name for name in config.credit_features if name in CREDIT_LINKS]
            pipeline.credit_links = {name: CREDIT_LINKS[name].load(folder / f"credits.{name}") for name in names}
            pipeline.credit_votes = {name: CreditVotes.load(folder / f"credits.{name}") for name in votes}
        if pipeline._reads("fields"):
            there = [f"fields.{field}" for field in config.fields if (folder / f"fields.{field}").is_dir()]
            pipeline._fields = {name: FieldEncoder.load(folder / name) for name in there}
        return pipeline

    def _is_there(self, modality: str, training: Catalogue) -> bool:
        """Return whether any training title has a modality."""
        if modality == "year":
            return bool(np.isfinite(training.years()).any())
        if modality == "credits":
            return any(len(training.people(role)[0]) for role in self.config.credits.roles)
        if modality == "fields":
            return any(any(training.lists(field)) for field in self.config.fields)
        if modality in (*MEDIA_MODALITIES, "poster_text"):
            there = media_present(modality, training)
            return bool((there & has_content(read_texts(training, "plot")) if modality == "joint" else there).any())
        return any(read_texts(training, modality))

    def _specs(self) -> list[tuple[str, str]]:
        """Return (block name, encoder specification) of every block that an encoder makes."""
        there = [modality for modality in self.config.modalities if modality not in self.absent_]
        return [named for modality in there for named in self.config.encoders_of(modality)]

    def _open(self, name: str, spec: str) -> None:
        """Open the encoder of a block; nothing is loaded yet."""
        if modality_of(name) in MEDIA_MODALITIES:
            self._media.open(name, spec)
        else:
            self._texts[name] = open_text_encoder(spec)

    def _fit_texts(self, training: Catalogue) -> None:
        for name, encoder in self._texts.items():
            if isinstance(encoder, TfidfEncoder):
                modality = modality_of(name)
                encoder.fit(read_texts(training, modality))
                self.fitted_on_[f"vocabulary of {modality}"] = training.ids
            elif seen := titles_seen_by(encoder):  # fine-tuned
                part = f"encoder of {modality_of(name)}"
                self.fitted_on_[part] = [*self.fitted_on_.get(part, []), *seen]
        for field in self.config.fields if self._reads("fields") else ():
            if any(lists := training.lists(field)):
                self._fields[f"fields.{field}"] = FieldEncoder(field).fit(lists)
                self.fitted_on_[f"vocabulary of {field}"] = training.ids

    def _read_texts(
        self,
        catalogue: Catalogue,
        store: FeatureStore,
        progress: Progress,
        *,
        into: Blocks,
    ) -> None:
        """Put what the text encoders make of titles into blocks and token blocks."""
        blocks, tokens = into
        texts: dict[str, list[str]] = {}
        for name, reader in self._texts.items():
            modality = modality_of(name)
            if modality not in texts:
                texts[modality] = self._texts_of(catalogue, modality, store, progress)
            if isinstance(reader, TfidfEncoder):
                blocks[name] = Block(*reader.encode(texts[modality]))
            elif name in self.piece_encoders:
                limit = self.config.token_limit
                tokens[name] = store.encode_pieces(self.piece_encoders[name], texts[modality], limit, progress)
            else:
                blocks[name] = Block(*store.encode(reader, texts[modality], progress))

    def _texts_of(self, catalogue: Catalogue, modality: str, store: FeatureStore, progress: Progress) -> list[str]:
        if modality != "poster_text":
            return read_texts(catalogue, modality)
        engine = self._engine()
        texts = store.read_poster_texts(engine, catalogue.posters, catalogue.ids, progress)
        return [text or "" for text in texts]

    def _engine(self) -> OcrEngine:
        """Return the OCR engine, which must be the one that the tagger was trained with."""
        engine = open_ocr_engine(self.config.ocr_engine)
        self._check(_OCR, engine.fingerprint)
        return engine

    def _fit_credits(
        self, graph_films: Catalogue, graph_targets: npt.NDArray[np.float32], seed: int, progress: Progress
    ) -> None:
        self.fitted_on_["graph"] = graph_films.ids
        if set(self.config.credit_features) & set(GRAPH_READERS):
            self.credit_graph = CreditProfile(self.config.credits).fit(graph_films, graph_targets)
        for name in self.config.credit_features:
            if name in CREDIT_LINKS:
                links = CREDIT_LINKS[name](self.config.links, self.config.credits.roles)
                self.credit_links[name] = links.fit(graph_films, graph_targets, seed=seed, progress=progress)

    def _fit_votes(
        self, graph_films: Catalogue, graph_targets: npt.NDArray[np.float32] | sp.csr_matrix, wider: Catalogue
    ) -> None:
        """Count what people's films are, by the labels learned and by other fields."""
        if VOTES not in self.config.credit_features:
            return
        self.credit_votes[VOTES] = CreditVotes(self.config.credits).fit(graph_films, graph_targets)
        for field in self.config.vote_fields:
            lists = wider.lists(field)
            known = np.flatnonzero([bool(words) for words in lists])
            if len(known) == 0:
                continue
            words = [lists[row] for row in known]
            targets, _ = _voted(field, words).encode_sparse(words)
            films = wider.take(known)
            self.credit_votes[f"{VOTES}_{field}"] = CreditVotes(self.config.credits).fit(films, targets)
            self.fitted_on_["graph"] = list(dict.fromkeys([*self.fitted_on_["graph"], *films.ids]))

    def _fingerprints(self) -> dict[str, str]:
        """Return by block name what changes the vectors of its encoder."""
        texts = {name: model_of(encoder.fingerprint) for name, encoder in self._texts.items()}
        return texts | self._media.fingerprints(self.config)

    def _reads(self, modality: str) -> bool:
        return modality in self.config.modalities and modality not in self.absent_

    def _check(self, name: str, fingerprint: str) -> None:
        """Raise EncoderError when a model is not the one that the tagger was trained with."""
        expected = self._expected.get(name)
        if expected is not None and expected != fingerprint:
            what = "the OCR engine" if name == _OCR else f"block '{name}'"
            raise EncoderError(
                f"{what}: the installed model differs from the one this tagger was trained with (fingerprint "
                f"{fingerprint}, expected {expected}); install that model or train again"
            )


def read_texts(catalogue: Catalogue, modality: str) -> list[str]:
    """Return the text of a modality: for ``plot`` plot and outline joined (either may be absent), else the field."""
    if modality != "plot":
        return catalogue.texts(modality)
    pairs = zip(catalogue.texts("plot"), catalogue.texts("outline"), strict=True)
    return [f"{plot} {outline}".strip() for plot, outline in pairs]


def _voted(field: str, lists: Sequence[Sequence[str]]) -> LabelSpace:
    """Return the words of a field that are voted on; all of them where none is on ``MIN_VOTED`` films."""
    every = LabelSpace.learn(lists, LabelConfig(field=field, min_count=1))
    if len(lists) <= SMALL or max(every.counts) < MIN_VOTED:
        return every
    return LabelSpace.learn(lists, replace(every.config, min_count=MIN_VOTED))


def _hint(absent: Sequence[str]) -> str:
    """Return which options name the files of modalities that no title has."""
    given = [("posters", "poster" in absent), ("trailers", bool(set(absent) & set(SHOT_MODALITIES)))]
    return "".join(f"; {what} are given by --{what}" for what, is_absent in given if is_absent)
