"""From titles to features: the encoders and the credits graph of one tagger, each fitted on its own fold only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from reeltag.catalogue import Catalogue
from reeltag.encoders import TextEncoder, open_text_encoder
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.tfidf import TfidfEncoder
from reeltag.encoders.year import encode_years
from reeltag.errors import EncoderError, FeatureError
from reeltag.features import Block, Features
from reeltag.graph.credits import CreditProfile
from reeltag.graph.link_credits import LinkCredits, SumCredits
from reeltag.progress import Progress, silent
from reeltag.recipes import FeatureConfig

CREDIT_LINKS: dict[str, type[LinkCredits] | type[SumCredits]] = {"links": LinkCredits, "sum": SumCredits}


class FeaturePipeline:
    """Turns catalogues into features.

    Args:
        config: What is read of a title.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self.credits: CreditProfile | None = None
        self.credit_links: dict[str, LinkCredits | SumCredits] = {}  # name of the feature -> what was fitted
        self.absent_: tuple[str, ...] = ()
        self.fitted_on_: dict[str, list[str]] = {}
        self._encoders: dict[str, TextEncoder] = {}  # block name -> encoder
        self._expected: dict[str, str] = {}  # block name -> fingerprint at training

    def fit(
        self,
        training: Catalogue,
        graph_films: Catalogue,
        graph_targets: npt.NDArray[np.float32],
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> FeaturePipeline:
        """Fit what has to be fitted.

        Args:
            training: Training titles: vocabularies are learned from them.
            graph_films: Titles that feed the credits graph: training titles, and background ones by choice.
            graph_targets: Their labels, (n_graph_films, n_labels).
            seed: Of the graph embeddings, if any.
            progress: Called while graph embeddings are trained.

        Raises:
            FeatureError: No configured modality is there for any training title.
        """
        self.credits, self.credit_links, self._encoders, self._expected, self.fitted_on_ = None, {}, {}, {}, {}
        absent = [modality for modality in self.config.modalities if not self._is_there(modality, training)]
        for modality in self.config.modalities:
            if modality == "credits" and modality not in absent:
                self._add_credits(graph_films, graph_targets, seed, progress)
            elif modality not in (*absent, "year"):
                self._add_texts(modality, training)
        self.absent_ = tuple(absent)
        if len(absent) == len(self.config.modalities):
            raise FeatureError(f"no training title has any of: {', '.join(self.config.modalities)}")
        return self

    def transform(self, catalogue: Catalogue, store: FeatureStore, progress: Progress = silent) -> Features:
        """Return the features of titles.

        Args:
            catalogue: The titles; those the credits graph was built from are left out of their own counts.
            store: Where vectors of pre-trained encoders are kept.
            progress: Called while new texts are encoded.

        Raises:
            EncoderError: A pre-trained model differs from the one the tagger was trained with.
        """
        blocks: dict[str, Block] = {}
        for name, encoder in self._encoders.items():
            texts = read_texts(catalogue, name.partition(".")[0])
            if isinstance(encoder, TfidfEncoder):
                blocks[name] = Block(*encoder.encode(texts))
            else:
                self._check(name, encoder)
                blocks[name] = Block(*store.encode(encoder, texts, progress))
        if self._reads("year"):
            blocks["year"] = encode_years(catalogue.years())
        if self.credits is not None:
            blocks["credits.profile"] = self.credits.transform(catalogue)
        for name, fitted in self.credit_links.items():
            blocks[f"credits.{name}"] = fitted.transform(catalogue)
        return Features(catalogue.ids, blocks)

    def save(self, folder: Path) -> dict[str, object]:
        """Write the fitted parts; return what ``load`` needs besides."""
        for name, encoder in self._encoders.items():
            if isinstance(encoder, TfidfEncoder):
                encoder.save(folder / name)
        if self.credits is not None:
            self.credits.save(folder / "credits")
        for name, fitted in self.credit_links.items():
            fitted.save(folder / f"credits.{name}")
        return {"absent": list(self.absent_), "encoders": {n: _model_of(e) for n, e in self._encoders.items()}}

    @classmethod
    def load(cls, folder: Path, config: FeatureConfig, absent: list[str], encoders: dict[str, str]) -> FeaturePipeline:
        """Read what ``save`` wrote."""
        pipeline = cls(config)
        pipeline.absent_, pipeline._expected = tuple(absent), dict(encoders)
        for name, spec in pipeline._specs():
            if name in encoders:
                fitted = TfidfEncoder.load(folder / name) if spec == "tfidf" else open_text_encoder(spec)
                pipeline._encoders[name] = fitted
        if pipeline._reads("credits"):
            if "profile" in config.credit_features:
                pipeline.credits = CreditProfile.load(folder / "credits")
            names = [name for name in config.credit_features if name in CREDIT_LINKS]
            pipeline.credit_links = {name: CREDIT_LINKS[name].load(folder / f"credits.{name}") for name in names}
        return pipeline

    def _is_there(self, modality: str, training: Catalogue) -> bool:
        """Return whether any training title has a modality."""
        if modality == "year":
            return bool(np.isfinite(training.years()).any())
        if modality == "credits":
            return any(len(training.people(role)[0]) for role in self.config.credits.roles)
        return any(read_texts(training, modality))

    def _add_credits(
        self, graph_films: Catalogue, graph_targets: npt.NDArray[np.float32], seed: int, progress: Progress
    ) -> None:
        self.fitted_on_["graph"] = graph_films.ids
        for name in self.config.credit_features:
            if name == "profile":
                self.credits = CreditProfile(self.config.credits).fit(graph_films, graph_targets)
            else:
                links = CREDIT_LINKS[name](self.config.links, self.config.credits.roles)
                self.credit_links[name] = links.fit(graph_films, graph_targets, seed=seed, progress=progress)

    def _add_texts(self, modality: str, training: Catalogue) -> None:
        for name, spec in self._specs():
            if name.startswith(f"{modality}."):
                encoder = open_text_encoder(spec)
                if isinstance(encoder, TfidfEncoder):
                    encoder.fit(read_texts(training, modality))
                    self.fitted_on_[f"vocabulary of {modality}"] = training.ids
                self._encoders[name] = encoder

    def _specs(self) -> list[tuple[str, str]]:
        """Return (block name, encoder specification) of every text block."""
        specs = {"plot": self.config.plot_encoders, "title": self.config.title_encoders}
        return [
            (f"{modality}.{open_text_encoder(spec).name}", spec)
            for modality in self.config.modalities
            for spec in specs.get(modality, ())
        ]

    def _reads(self, modality: str) -> bool:
        return modality in self.config.modalities and modality not in self.absent_

    def _check(self, name: str, encoder: TextEncoder) -> None:
        expected = self._expected.get(name)
        if expected is not None and expected != _model_of(encoder):
            raise EncoderError(
                f"block '{name}': the installed model differs from the one this tagger was trained with "
                f"(fingerprint {_model_of(encoder)}, expected {expected}); install that model or train again"
            )


def read_texts(catalogue: Catalogue, modality: str) -> list[str]:
    """Return the text of a modality: for ``plot`` plot and outline joined (either may be absent), else the field."""
    if modality != "plot":
        return catalogue.texts(modality)
    pairs = zip(catalogue.texts("plot"), catalogue.texts("outline"), strict=True)
    return [f"{plot} {outline}".strip() for plot, outline in pairs]


def _model_of(encoder: TextEncoder) -> str:
    """Return the fingerprint without the precision: vectors of two precisions are near enough for one model."""
    return encoder.fingerprint.rpartition("-torch.")[0] or encoder.fingerprint
