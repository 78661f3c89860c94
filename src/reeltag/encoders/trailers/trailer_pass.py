"""Trailers on disk as sequences: every file is read once for all experts that lack it, several files side by side.

A trailer takes long to read, so what the experts make of it is written as soon as it is done: a run that is killed
loses the files at work, and a repeated one goes on with the others. While the experts look at some shots of a file the
next ones are decoded; of every file at work no more than two such batches are held. Files are known by their content.

Experts are called from several threads at once: their models are opened before, under a lock, and hold no state while
they encode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.catalogue.trailers import TrailerFiles
from reeltag.encoders.images import decoding_threads
from reeltag.encoders.ragged import RaggedShards, write_ragged
from reeltag.encoders.shards import HASH_BYTES, Index, as_hashes
from reeltag.encoders.trailers.contract import Shot, ShotExpert
from reeltag.encoders.trailers.reader import ShotReader
from reeltag.encoders.trailers.sequences import ALL_SHOTS, ShotSequences
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.errors import EncoderError, MediaError
from reeltag.features import TokenBlock
from reeltag.progress import Progress, silent

BATCH_BYTES = 32 << 20  # of shots that experts are shown at once,
BATCH_SHOTS = 16  # and how many of them at most
UNREADABLE = "trailers-unreadable"  # what the folders of files that cannot be read begin with: delete one to try again


@dataclass(kw_only=True)
class TrailerLog:
    """What was told of a pass over trailers.

    Attributes:
        n_read: Files that were decoded in this pass.
        unreadable: Why a trailer cannot be read, found now or in an earlier pass, by title.
    """

    n_read: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


class TrailerStore:
    """Sequences of trailers in a cache.

    Args:
        folder: The cache folder.
        n_files: Trailers read at once; one per core that this process may use when None, eight at most.
    """

    def __init__(self, folder: Path, n_files: int | None = None) -> None:
        self.folder = folder
        self.n_files = n_files or decoding_threads()
        self._digests = FileDigests()

    def encode(
        self,
        experts: Mapping[str, ShotExpert],
        trailers: TrailerFiles,
        ids: Sequence[str],
        shots: ShotConfig,
        progress: Progress = silent,
        log: TrailerLog | None = None,
    ) -> dict[str, TokenBlock]:
        """Return what experts make of the shots of trailers, as ``FeatureStore.encode_trailers`` says."""
        log = log or TrailerLog()
        folders = {name: self.folder / f"{e.name}-{e.fingerprint}-{shots.fingerprint}" for name, e in experts.items()}
        rates = "-".join(str(rate) for rate in rates_of(experts.values())) or "silent"
        job = _Pass(
            experts={folder: experts[name] for name, folder in folders.items()},  # equal ones once
            refusals=self.folder / f"{UNREADABLE}-{shots.fingerprint}-{rates}",
            shots=shots,
            digests=self._digests,
        )
        there = trailers.present(ids)
        paths = {title_id: trailers.path(title_id) for title_id, has in zip(ids, there, strict=True) if has}
        job.run(list(dict.fromkeys(paths.values())), self.n_files, progress)
        keys = {title_id: job.keys[path] for title_id, path in paths.items() if path in job.keys}
        log.n_read += job.n_read
        log.unreadable |= {i: job.faults[path] for i, path in paths.items() if path in job.faults}
        log.unreadable |= (refused := _refused(RaggedShards(job.refusals), keys))
        if log.unreadable:
            progress("unreadable trailers", len(log.unreadable), len(ids))
        told = [None if i in refused else keys.get(i) for i in ids]
        return {name: _block(RaggedShards(folder), experts[name], told) for name, folder in folders.items()}


class FileDigests:
    """Hashes of the content of files, each read once in a run as long as its size and time stay the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], bytes] = {}

    def of(self, path: Path) -> bytes:
        """Return the hash of a file, 16 bytes.

        Raises:
            OSError: It cannot be read.
        """
        told = path.stat()
        file_now = (str(path), told.st_size, told.st_mtime_ns)
        if file_now not in self._known:
            with path.open("rb") as file:
                self._known[file_now] = hashlib.file_digest(file, _new_digest).digest()
        return self._known[file_now]


@dataclass(kw_only=True)
class _Pass:
    """One pass over files.

    Attributes:
        experts: By the folder of their sequences.
        refusals: Folder of why files cannot be read.
        shots: How files are read.
        digests: Hashes of files.
        keys: The hash of every file that was there to be hashed, by path.
        faults: Why the others were not.
        n_read: Files decoded.
    """

    experts: Mapping[Path, ShotExpert]
    refusals: Path
    shots: ShotConfig
    digests: FileDigests
    keys: dict[Path, bytes] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)
    n_read: int = 0

    def __post_init__(self) -> None:
        self._known: dict[Path, Index] = {folder: RaggedShards(folder).index for folder in self.experts}
        self._refused = RaggedShards(self.refusals).index
        self._started: set[bytes] = set()
        self._lock, self._stop = Lock(), Event()

    def run(self, paths: Sequence[Path], n_files: int, progress: Progress) -> None:
        """Read the files that any expert lacks, ``n_files`` at once."""
        if not paths:
            return
        stage = "reading trailers"
        progress(stage, 0, len(paths))
        with ThreadPoolExecutor(min(n_files, len(paths))) as pool:
            try:
                for number, job in enumerate(as_completed([pool.submit(self._read, path) for path in paths]), 1):
                    job.result()
                    progress(stage, number, len(paths))
            finally:  # after a failure or Ctrl-C: files at work end at their next shot
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _read(self, path: Path) -> None:
        """Read a file that is not known; one that fails stops all others, at once and not when that is noticed."""
        failed = True
        try:
            if not self._stop.is_set():
                self._work(path)
            failed = False
        finally:
            if failed:
                self._stop.set()

    def _work(self, path: Path) -> None:
        try:
            key = self.digests.of(path)
        except OSError as error:  # nothing to remember it by
            self.faults[path] = f"cannot be read ({error.strerror or error})"
            return
        self.keys[path] = key
        with self._lock:
            if key in self._started:
                return
            self._started.add(key)
        hashes = as_hashes([key])
        lacking = {folder: e for folder, e in self.experts.items() if not self._known[folder].known(hashes)[0]}
        if lacking and not self._refused.known(hashes)[0]:
            self._compute(path, key, lacking)

    def _compute(self, path: Path, key: bytes, lacking: Mapping[Path, ShotExpert]) -> None:
        """Let experts look at the shots of a file, and write what they make of them; or why there are none."""
        with self._lock:
            dims = {folder: expert.dim for folder, expert in lacking.items()}  # opens the models, one after the other
        parts: dict[Path, list[npt.NDArray[np.float16]]] = {folder: [] for folder in lacking}
        try:
            shots = ShotReader(path, self.shots, rates_of(lacking.values()))
            with closing(_ahead(_batches(shots, self._stop))) as batches:
                for batch in batches:
                    for folder, expert in lacking.items():
                        if not self._stop.is_set():
                            parts[folder].append(_rows(expert, batch, path))
        except MediaError as error:
            reason = str(error).removeprefix(f"{path}: ") or type(error).__name__
            written = np.frombuffer(reason.encode("utf-8", "surrogateescape"), np.uint8)
            write_ragged(self.refusals, as_hashes([key]), [written[:, None]], 1)
            return
        if self._stop.is_set():  # not all of it was looked at
            return
        for folder, dim in dims.items():
            sequence = np.concatenate([np.zeros((0, dim), np.float16), *parts[folder]])
            seen_any = not np.isnan(sequence).all()
            write_ragged(folder, as_hashes([key]), [sequence if seen_any else sequence[:0]], dim)
        with self._lock:
            self.n_read += 1


def rates_of(experts: Iterable[ShotExpert]) -> tuple[int, ...]:
    """Return the sampling rates that experts want, each once, rising."""
    return tuple(sorted({expert.sample_rate for expert in experts if expert.sample_rate is not None}))


def _rows(expert: ShotExpert, batch: Sequence[Shot], path: Path) -> npt.NDArray[np.float16]:
    """Return what an expert makes of shots in half precision, NaN where it has nothing to go by.

    Raises:
        EncoderError: Something that it made is not finite, or too large.
    """
    vectors, seen = expert.encode_shots(batch)
    with np.errstate(over="ignore"):
        rows = np.asarray(vectors).astype(np.float16)
    if not np.isfinite(rows[seen]).all():
        raise EncoderError(f"{path}: the expert '{expert.name}' must give finite numbers up to 65,504")
    rows[~seen] = np.nan
    return rows


def _batches(shots: Iterable[Shot], stop: Event) -> Generator[list[Shot], None, None]:
    """Yield shots some at a time: as many as there are bytes for, at least one; no more once it is to stop."""
    held: list[Shot] = []
    n_bytes = 0
    for shot in shots:
        if stop.is_set():
            return
        held.append(shot)
        n_bytes += shot.frames.nbytes + shot.grey.nbytes + sum(sound.nbytes for sound in shot.sound.values())
        if len(held) == BATCH_SHOTS or n_bytes >= BATCH_BYTES:
            yield held
            held, n_bytes = [], 0
    if held:
        yield held


def _ahead(batches: Generator[list[Shot], None, None]) -> Generator[list[Shot], None, None]:
    """Yield batches while the next one is made in a thread of its own, which alone touches the file."""
    with ThreadPoolExecutor(1) as pool:
        try:
            coming = pool.submit(next, batches, None)
            while (batch := coming.result()) is not None:
                coming = pool.submit(next, batches, None)
                yield batch
        finally:
            pool.submit(batches.close)


def _refused(stored: RaggedShards, keys: Mapping[str, bytes]) -> dict[str, str]:
    """Return why files cannot be read, by title."""
    if not keys:
        return {}
    ids, hashes = list(keys), as_hashes(list(keys.values()))
    rows = np.flatnonzero(stored.index.known(hashes)).tolist()
    places = stored.index.places(hashes[rows]).tolist()
    return {
        ids[row]: stored.sequence(place).tobytes().decode("utf-8", "replace")
        for row, place in zip(rows, places, strict=True)
    }


def _block(stored: RaggedShards, expert: ShotExpert, keys: Sequence[bytes | None]) -> TokenBlock:
    """Return the sequences of an expert, given the hash of every title that has a trailer that can be read."""
    places = np.full(len(keys), -1, np.int64)
    rows = np.array([row for row, key in enumerate(keys) if key is not None], np.int64)
    found = stored.index.places(as_hashes([key for key in keys if key is not None]))
    places[rows] = np.where(stored.lengths(found) > 0, found, -1)
    return TokenBlock(ShotSequences(stored, stored.width or expert.dim), places, ALL_SHOTS)


def _new_digest() -> Any:
    return hashlib.blake2b(digest_size=HASH_BYTES)
