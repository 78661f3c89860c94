"""FeatureStore: vectors computed once. Keyed by content (text, poster, or both) and the fingerprint of the encoder.

Each encoder has a folder of shards; a shard holds the hashes and vectors of some texts or posters and is written whole
or not at all, so a run that is killed loses one shard's work at most and goes on where it stopped. Several processes
may write side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from reeltag.catalogue.posters import Posters
from reeltag.catalogue.trailers import TrailerFiles
from reeltag.encoders.contract import JointEncoder, PatchEncoder, PieceEncoder, PosterEncoder, TextEncoder, has_content
from reeltag.encoders.images import DECODING, RGBImage
from reeltag.encoders.ocr.contract import OcrEngine, ReadingLog, StepwiseEngine
from reeltag.encoders.ocr.words import PosterText, Refusal, text_of, words_of
from reeltag.encoders.poster_pass import PosterPass
from reeltag.encoders.ragged import RaggedShards, StoredSequences, write_ragged
from reeltag.encoders.shards import Hashes, Shards, content_hashes, first_rows, write_shard
from reeltag.encoders.trailers.contract import ShotExpert
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.encoders.trailers.trailer_pass import TrailerLog, TrailerStore
from reeltag.errors import EncoderError
from reeltag.features import TokenBlock
from reeltag.progress import Progress, silent

SHARD_TEXTS = 1024
SHARD_POSTERS = 256
SHARD_READ = 64  # posters whose words are read: an engine takes much longer than an encoder
READ_AT_ONCE = 8  # posters handed to an OCR engine that gives nothing of a batch it fails on
REFUSED = "refused-"  # what the names of files with refusals begin with: they can be deleted alone, to read again
_PIECES = 2  # part of the key of word pieces; raise it when their order changes

_Result = TypeVar("_Result")
_Known: TypeAlias = Callable[[Hashes], npt.NDArray[np.bool_]]
_Write: TypeAlias = Callable[[Hashes, npt.NDArray[np.bool_], list[npt.NDArray[Any]]], None]
_Encode: TypeAlias = Callable[[Sequence[RGBImage], Sequence[str], dict[int, Any]], None]
Encoded: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def default_cache() -> Path:
    """Return the cache folder: ``$REELTAG_CACHE``, else ``reeltag`` in the user's cache folder."""
    set_by_user = os.environ.get("REELTAG_CACHE")
    if set_by_user:
        return Path(set_by_user)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reeltag"


class FeatureStore:
    """Vectors on disk.

    Args:
        folder: The cache folder; the default one when None.
        shard_texts: Texts per shard: the most work that a kill can lose.
        shard_posters: The same for posters, alone or with a text.
        trailers_at_once: Trailers read side by side; one per core when None, eight at most.
    """

    def __init__(
        self,
        folder: Path | None = None,
        shard_texts: int = SHARD_TEXTS,
        shard_posters: int = SHARD_POSTERS,
        trailers_at_once: int | None = None,
    ) -> None:
        self.folder = folder or default_cache()
        self.shard_texts = shard_texts
        self.shard_posters = shard_posters
        self._trailers = TrailerStore(self.folder, trailers_at_once)

    def encode(self, encoder: TextEncoder, texts: Sequence[str], progress: Progress = silent) -> Encoded:
        """Return the vectors of texts, computing only those that no earlier run has left.

        Args:
            encoder: A dense text encoder.
            texts: The texts; equal texts are computed once.
            progress: Called with the number of new texts done.

        Returns:
            Vectors (n_texts, dim) and the mask of texts that are not blank. A row depends on its text alone.
        """
        folder = self.folder / f"{encoder.name}-{encoder.fingerprint}"
        present = has_content(texts)
        hashes = content_hashes(texts)
        stored = Shards(folder)
        rows = first_rows(hashes, ~stored.known(hashes) & present)
        if len(rows):
            self._compute(encoder, [texts[row] for row in rows], hashes[rows], folder, progress)
            stored = Shards(folder)
        if not present.any():
            return np.zeros((len(texts), stored.width() or encoder.dim), np.float32), present
        return stored.read(hashes, present)

    def encode_posters(
        self, encoder: PosterEncoder, posters: Posters, ids: Sequence[str], progress: Progress = silent
    ) -> Encoded:
        """Return the vectors of posters, decoding and computing only those that no earlier run has left.

        Args:
            encoder: A poster encoder.
            posters: Where the posters are; they are read once, in storage order, some at a time.
            ids: The titles; equal images are computed once.
            progress: Called with the number of posters done, those left by earlier runs among them.

        Returns:
            Vectors (n_titles, dim) and the mask of titles whose poster is there and readable.
        """
        job = self._vector_pass(encoder, lambda images, _, made: made.update(enumerate(encoder.encode(images))))
        hashes, found = job.run(posters, ids, None, progress)
        return self._read_images(encoder, hashes, found)

    def encode_pairs(
        self,
        encoder: JointEncoder,
        posters: Posters,
        ids: Sequence[str],
        texts: Sequence[str],
        progress: Progress = silent,
    ) -> Encoded:
        """Return the vectors of posters with their texts, as ``encode_posters`` does for posters alone.

        Args:
            encoder: A joint encoder.
            posters: Where the posters are.
            ids: The titles.
            texts: One text per title.
            progress: Called with the number of pairs done.

        Returns:
            Vectors (n_titles, dim) and the mask of titles that have a readable poster and a text that is not blank.
        """
        job = self._vector_pass(
            encoder, lambda images, words, made: made.update(enumerate(encoder.encode(images, words)))
        )
        filled = has_content(texts)
        chosen = {title_id: text for title_id, text, is_filled in zip(ids, texts, filled, strict=True) if is_filled}
        hashes, found = job.run(posters, ids, chosen, progress)
        return self._read_images(encoder, hashes, found)

    def encode_patches(
        self, encoder: PatchEncoder, posters: Posters, ids: Sequence[str], grid: int, progress: Progress = silent
    ) -> TokenBlock:
        """Return the patch tokens of posters, computed as ``encode_posters`` does and left on disk.

        Args:
            encoder: A poster encoder that looks at patches.
            posters: Where the posters are.
            ids: The titles.
            grid: Patches along a side at most; finer ones are averaged.
            progress: Called with the number of posters done.
        """
        folder = self.folder / f"{encoder.name}-{encoder.fingerprint}-patches{grid}-decoding{DECODING}"
        return self._tokens(
            folder,
            lambda known, write: PosterPass(
                stage=f"encoding patches {encoder.name}",
                known=known,
                encode=lambda images, _, made: made.update(enumerate(encoder.encode_patches(images, grid))),
                write=write,
                shard_posters=self.shard_posters,
            ).run(posters, ids, None, progress),
            encoder,
            limit=grid * grid,
        )

    def encode_trailers(
        self,
        experts: Mapping[str, ShotExpert],
        trailers: TrailerFiles,
        ids: Sequence[str],
        shots: ShotConfig,
        progress: Progress = silent,
        log: TrailerLog | None = None,
    ) -> dict[str, TokenBlock]:
        """Return what experts make of the shots of trailers, reading only files that an expert has not seen yet.

        Args:
            experts: By block name.
            trailers: Where the trailers are; each is read once for all experts that lack it, equal files once.
            ids: The titles.
            shots: How trailers are cut into shots.
            progress: Called with the number of files done, those read by earlier runs among them, and with the number
                of trailers that cannot be read, if any.
            log: Is told which these are.

        Returns:
            By block name a vector per shot, in the same order for every expert; shots that an expert has nothing to go
            by in are not real. A title is absent where there is no trailer that can be read, or nothing in any shot.

        Raises:
            EncoderError: An expert failed; the files that were done by then are kept.
        """
        return self._trailers.encode(experts, trailers, ids, shots, progress, log)

    def encode_pieces(
        self, encoder: PieceEncoder, texts: Sequence[str], limit: int, progress: Progress = silent
    ) -> TokenBlock:
        """Return the word-piece tokens of texts, computed as ``encode`` does and left on disk.

        Args:
            encoder: A text encoder that tells its word pieces apart.
            texts: The texts; a blank one has no tokens.
            limit: Tokens per text at most; more are computed and kept, but not read.
            progress: Called with the number of new texts done.
        """

        def run(known: _Known, write: _Write) -> tuple[Hashes, npt.NDArray[np.bool_]]:
            present, hashes = has_content(texts), content_hashes(texts)
            rows = first_rows(hashes, ~known(hashes) & present)
            stage = f"encoding pieces {encoder.name}"
            for start in range(0, len(rows), self.shard_texts):
                progress(stage, start, len(rows))
                part = rows[start : start + self.shard_texts]
                sequences = encoder.encode_pieces([texts[row] for row in part])
                write(hashes[part], np.ones(len(part), np.bool_), sequences)
            progress(stage, len(rows), len(rows))
            return hashes, present

        folder = self.folder / f"{encoder.name}-{encoder.fingerprint}-pieces{_PIECES}"
        return self._tokens(folder, run, encoder, limit=limit)

    def read_words(
        self,
        engine: OcrEngine,
        posters: Posters,
        ids: Sequence[str],
        progress: Progress = silent,
        log: ReadingLog | None = None,
    ) -> list[PosterText | None]:
        """Return the words on posters, reading only those that no earlier run has read.

        Args:
            engine: An OCR engine.
            posters: Where the posters are; they are read once, in storage order, some at a time.
            ids: The titles; equal images are read once.
            progress: Called with the number of posters done, those read by earlier runs among them, and with the number
                of those that the engine refused, if any.
            log: Is told what was read now, and which posters are refused.

        Returns:
            Per title its words, none of them where the engine found no text; None where there is no poster, none that
            can be decoded, or one that the engine refused.

        Raises:
            EncoderError: The engine failed; what it had read by then is kept.
        """
        return self._read_off(engine, posters, ids, words_of, progress, log or ReadingLog())

    def read_poster_texts(
        self,
        engine: OcrEngine,
        posters: Posters,
        ids: Sequence[str],
        progress: Progress = silent,
        log: ReadingLog | None = None,
    ) -> list[str | None]:
        """Return the words on posters joined by blanks, from the cache of ``read_words`` and as that does.

        Args:
            engine: An OCR engine.
            posters: Where the posters are.
            ids: The titles.
            progress: Called with the number of posters done.
            log: Is told what was read now, and which posters are refused.

        Returns:
            Per title the text, "" where the engine found none; None as for ``read_words``.

        Raises:
            EncoderError: The engine failed; what it had read by then is kept.
        """
        return self._read_off(engine, posters, ids, text_of, progress, log or ReadingLog())

    def _read_off(
        self,
        engine: OcrEngine,
        posters: Posters,
        ids: Sequence[str],
        decoded: Callable[[bytes], _Result | Refusal],
        progress: Progress,
        log: ReadingLog,
    ) -> list[_Result | None]:
        folder = self.folder / f"ocr-{engine.name}-{engine.fingerprint}-decoding{DECODING}"
        try:
            hashes, found = self._reading_pass(engine, folder, log).run(posters, ids, None, progress)
        except EncoderError as error:
            if not log.n_read:
                raise
            kept = "1 poster of this run is" if log.n_read == 1 else f"{log.n_read:,} posters of this run are"
            raise EncoderError(f"{error}; {kept} kept, and a repeated run goes on from there") from error
        stored, results = RaggedShards(folder), list[_Result | None]([None] * len(ids))
        for row, place in zip(np.flatnonzero(found).tolist(), stored.index.places(hashes[found]), strict=True):
            content = stored.sequence(int(place)).tobytes()
            result = decoded(content) if content else None
            if isinstance(result, Refusal):
                log.refused[ids[row]] = result.reason
            else:
                results[row] = result
        if log.refused:
            progress(f"refused by {engine.name}", len(log.refused), len(ids))
        return results

    def _reading_pass(self, engine: OcrEngine, folder: Path, log: ReadingLog) -> PosterPass:
        is_stepwise = isinstance(engine, StepwiseEngine)

        def encode(images: Sequence[RGBImage], _: Sequence[str], made: dict[int, Any]) -> None:
            if isinstance(engine, StepwiseEngine):
                engine.read_into(images, made)
            else:
                made.update(enumerate(engine.read(images)))

        def write(hashes: Hashes, present: npt.NDArray[np.bool_], read: list[PosterText | Refusal]) -> None:
            results = iter(read)
            told = [next(results) if is_there else None for is_there in present]
            refused = np.array([isinstance(result, Refusal) for result in told], np.bool_)
            rows = [np.frombuffer(b"" if result is None else result.to_bytes(), np.uint8)[:, None] for result in told]
            for chosen, prefix in ((~refused, ""), (refused, REFUSED)):
                if chosen.any():
                    write_ragged(folder, hashes[chosen], [rows[i] for i in np.flatnonzero(chosen)], 1, prefix)
            log.n_read += len(read)

        return PosterPass(
            stage=f"reading words with {engine.name}",
            known=RaggedShards(folder).index.known,
            encode=encode,
            write=write,
            shard_posters=min(self.shard_posters, SHARD_READ),
            chunk=SHARD_READ if is_stepwise else READ_AT_ONCE,
        )

    def _compute(
        self, encoder: TextEncoder, texts: list[str], hashes: Hashes, folder: Path, progress: Progress
    ) -> None:
        stage = f"encoding {encoder.name}"
        progress(stage, 0, len(texts))
        for start in range(0, len(texts), self.shard_texts):
            part = slice(start, start + self.shard_texts)
            values, _ = encoder.encode(texts[part])
            write_shard(folder, hashes[part], values)
            progress(stage, min(start + self.shard_texts, len(texts)), len(texts))

    def _image_folder(self, encoder: PosterEncoder | JointEncoder) -> Path:
        return self.folder / f"{encoder.name}-{encoder.fingerprint}-decoding{DECODING}"

    def _vector_pass(self, encoder: PosterEncoder | JointEncoder, encode: _Encode) -> PosterPass:
        folder = self._image_folder(encoder)

        def write(hashes: Hashes, present: npt.NDArray[np.bool_], vectors: list[npt.NDArray[np.float32]]) -> None:
            values = np.zeros((len(hashes), len(vectors[0]) if vectors else encoder.dim), np.float32)
            if vectors:
                values[present] = np.stack(vectors)
            write_shard(folder, hashes, values, present)

        return PosterPass(
            stage=f"encoding {encoder.name}",
            known=Shards(folder).known,
            encode=encode,
            write=write,
            shard_posters=self.shard_posters,
        )

    def _read_images(
        self, encoder: PosterEncoder | JointEncoder, hashes: Hashes, found: npt.NDArray[np.bool_]
    ) -> Encoded:
        stored = Shards(self._image_folder(encoder))
        if not found.any():
            return np.zeros((len(found), stored.width() or encoder.dim), np.float32), found
        return stored.read(hashes, found)

    def _tokens(
        self,
        folder: Path,
        run: Callable[[_Known, _Write], tuple[Hashes, npt.NDArray[np.bool_]]],
        encoder: PatchEncoder | PieceEncoder,
        *,
        limit: int,
    ) -> TokenBlock:
        """Compute the sequences that are missing, and return where all of them are."""

        def write(hashes: Hashes, present: npt.NDArray[np.bool_], made: list[npt.NDArray[Any]]) -> None:
            sequences, none = iter(made), np.zeros((0, encoder.token_dim), np.float16)
            rows = [np.asarray(next(sequences), np.float16) if is_there else none for is_there in present]
            write_ragged(folder, hashes, rows, encoder.token_dim)

        hashes, found = run(RaggedShards(folder).index.known, write)
        stored = RaggedShards(folder)
        places = np.full(len(found), -1, np.int64)
        places[found] = stored.index.places(hashes[found])
        places[found] = np.where(stored.lengths(places[found]) > 0, places[found], -1)
        return TokenBlock(StoredSequences(stored, stored.width or encoder.token_dim), places, limit)
