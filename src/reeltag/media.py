"""What a tagger sees and hears of titles: the encoders of posters, of posters with plots, and of trailers.

What is read follows from the settings of every call, so that one set of encoders serves pipelines that differ in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reeltag.catalogue import Catalogue
from reeltag.encoders import JointEncoder, PosterEncoder, open_joint_encoder, open_poster_encoder
from reeltag.encoders.contract import PatchEncoder
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.trailers import open_shot_expert
from reeltag.encoders.trailers.contract import SHOT_MODALITIES, ShotExpert
from reeltag.encoders.trailers.sequences import mean_of_shots
from reeltag.encoders.trailers.trailer_pass import TrailerLog
from reeltag.features import Block, TokenBlock, modality_of
from reeltag.progress import Progress
from reeltag.recipes import FeatureConfig

Blocks: TypeAlias = tuple[dict[str, Block], dict[str, TokenBlock]]
MEDIA_MODALITIES = ("poster", "joint", *SHOT_MODALITIES)


@dataclass(kw_only=True)
class MediaReaders:
    """The encoders of one tagger that look or listen.

    Attributes:
        posters: By block name.
        pairs: Of posters with plots.
        experts: Of trailers.
        unreadable: Why a trailer could not be read, by title, of all that were to be read so far.
    """

    posters: dict[str, PosterEncoder] = field(default_factory=dict)
    pairs: dict[str, JointEncoder] = field(default_factory=dict)
    experts: dict[str, ShotExpert] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def open(self, name: str, spec: str) -> None:
        """Open the encoder of a block; nothing is loaded yet."""
        modality = modality_of(name)
        if modality == "poster":
            self.posters[name] = open_poster_encoder(spec)
        elif modality == "joint":
            self.pairs[name] = open_joint_encoder(spec)
        else:
            self.experts[name] = open_shot_expert(modality, spec)

    def load(self, config: FeatureConfig) -> None:
        """Open every model, so that one that is not there is named before any work.

        Raises:
            EncoderError: A model cannot be found.
        """
        encoders: list[PosterEncoder | JointEncoder | ShotExpert] = [
            *self.posters.values(), *self.pairs.values(), *self.experts.values()
        ]  # fmt: skip
        for encoder in encoders:
            _ = encoder.dim
        for patches in self.patch_encoders(config).values():
            _ = patches.token_dim  # the same of its map of features

    def fingerprints(self, config: FeatureConfig) -> dict[str, str]:
        """Return by block name what changes its vectors."""
        found = {name: model_of(encoder.fingerprint) for name, encoder in self.posters.items()}
        found |= {name: model_of(encoder.fingerprint) for name, encoder in self.pairs.items()}
        shots = config.shots.fingerprint
        return found | {name: f"{model_of(e.fingerprint)}-{shots}" for name, e in self.experts.items()}

    def patch_encoders(self, config: FeatureConfig) -> dict[str, PatchEncoder]:
        """Return the encoders of posters that are read as patches, by block name."""
        read = self.posters.items() if "poster" in config.tokens else ()
        return {name: encoder for name, encoder in read if isinstance(encoder, PatchEncoder)}

    def read(
        self,
        config: FeatureConfig,
        catalogue: Catalogue,
        store: FeatureStore,
        progress: Progress,
        *,
        plots: Sequence[str],
        into: Blocks,
    ) -> None:
        """Put what the encoders make of titles into blocks and token blocks; ``plots`` are for those of pairs."""
        blocks, tokens = into
        ids, posters, patches = catalogue.ids, catalogue.posters, self.patch_encoders(config)
        for name, looker in self.posters.items():
            if name in patches:
                tokens[name] = store.encode_patches(patches[name], posters, ids, config.patch_grid, progress)
            else:
                blocks[name] = Block(*store.encode_posters(looker, posters, ids, progress))
        for name, both in self.pairs.items():
            blocks[name] = Block(*store.encode_pairs(both, posters, ids, plots, progress))
        if not self.experts:
            return
        log = TrailerLog()
        sequences = store.encode_trailers(self.experts, catalogue.trailers, ids, config.shots, progress, log)
        self.unreadable |= log.unreadable
        for name, sequence in sequences.items():
            if modality_of(name) in config.tokens:
                tokens[name] = replace(sequence, limit=config.shot_limit)
            else:
                blocks[name] = mean_of_shots(sequence)


def media_present(modality: str, catalogue: Catalogue) -> npt.NDArray[np.bool_]:
    """Return which titles have the file that a modality is read from, shape (n_titles,).

    Args:
        modality: One of the ``MEDIA_MODALITIES``, or ``poster_text``.
        catalogue: The titles.
    """
    place = catalogue.trailers if modality in SHOT_MODALITIES else catalogue.posters
    return place.present(catalogue.ids)


def model_of(fingerprint: str) -> str:
    """Return a fingerprint without the precision: vectors of two precisions are near enough for one model."""
    return fingerprint.rpartition("-torch.")[0] or fingerprint
