"""The test titles read again with something about their posters changed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from reeltag.benchmark.entries import Variant
from reeltag.catalogue import Catalogue
from reeltag.catalogue.posters import Posters
from reeltag.encoders.images import MIN_SIDE, decode
from reeltag.encoders.ocr import open_ocr_engine
from reeltag.encoders.store import FeatureStore
from reeltag.errors import EncoderError, MissingExtraError, Problem
from reeltag.features import Features
from reeltag.pipeline import FeaturePipeline
from reeltag.progress import Progress, silent


@dataclass(frozen=True)
class ResizedPosters:
    """The posters of another place, made smaller.

    Attributes:
        posters: The other place.
        factor: What width and height are multiplied by, in (0, 1].
    """

    posters: Posters
    factor: float

    def present(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which titles have a poster, shape (n_titles,)."""
        return self.posters.present(ids)

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the smaller image, as PNG, of every title that has one; broken images as they are."""
        for title_id, content in self.posters.read(ids):
            yield title_id, resized(content, self.factor)

    def problems(self) -> list[Problem]:
        """Return what the other place says."""
        return self.posters.problems()


def resized(content: bytes, factor: float) -> bytes:
    """Return an image as PNG, its sides multiplied by a factor, neither below 8 pixels; one that is broken as it is.

    Scans whose shorter side has more than 1,023 pixels are reduced below that first, as encoders do.
    """
    image = decode(content)
    if image is None:
        return content
    width, height = (max(MIN_SIDE, round(side * factor)) for side in image.size)
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.LANCZOS).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def engine_missing(engine: str, configured: str) -> str:
    """Return why words cannot be read by an OCR engine; "" when they can."""
    if engine == configured:
        return f"not run: {engine} reads the words anyway"
    try:
        _ = open_ocr_engine(engine).fingerprint
    except (EncoderError, MissingExtraError) as error:
        return f"not run: {error}"
    return ""


def varied(
    variant: Variant, pipeline: FeaturePipeline, films: Catalogue, store: FeatureStore, progress: Progress = silent
) -> Features:
    """Return the features of titles under a variant; a hidden modality is read all the same.

    Raises:
        EncoderError: The OCR engine failed.
    """
    if variant.ocr:
        pipeline = pipeline.with_ocr(variant.ocr)
    if variant.scale != 1:
        films = replace(films, posters=ResizedPosters(films.posters, variant.scale))
    return pipeline.transform(films, store, progress)
