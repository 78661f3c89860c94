"""What spaces are worth, kept as it is measured: a file per model and seed, under a name of all that it depends on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from reeltag.benchmark.entries import Entry
from reeltag.benchmark.inputs import Inputs, digest
from reeltag.benchmark.retrieval_entries import PUBLISHED, RAW, START, TRAINED, RetrievalConfig
from reeltag.benchmark.retrieval_pools import (
    Floats,
    Matrix,
    Places,
    Query,
    Space,
    measured,
    queries_of,
    raw_spaces,
    raw_text,
)
from reeltag.benchmark.runs import SEED_STEP
from reeltag.catalogue import Catalogue
from reeltag.config import from_json, to_json
from reeltag.files import atomic_file
from reeltag.models import GatingConfig, GatingModel, Validation
from reeltag.progress import Progress, silent

_SCHEMA = 1
RANDOM, COARSE, FINE = "random", "coarse", "fine"
_SPACES = {TRAINED: (COARSE, FINE), START: ("", START), PUBLISHED: ("coarse as published", "fine as published")}

Measures = dict[str, Floats]  # what ``measured`` returns


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Spaces of one model trained with one seed.

    Attributes:
        spaces: By name of the space, what was measured.
        notes: What the model says of itself.
        train_seconds: Wall-clock time of the training alone; 0 without one.
        text: Which of the spaces is that of the raw text; "" for none.
    """

    spaces: dict[str, Measures]
    notes: tuple[str, ...] = ()
    train_seconds: float = 0.0
    text: str = ""


class Trial:
    """Measures spaces of one partition.

    Args:
        folder: Where what was measured is kept.
        inputs: What the models read.
        catalogue: The titles.
        settings: Whole settings of every entry's model, by label.
        config: How neighbours are measured.
    """

    def __init__(
        self,
        folder: Path,
        inputs: Inputs,
        catalogue: Catalogue,
        settings: Mapping[str, dict[str, Any]],
        config: RetrievalConfig,
    ) -> None:
        self.folder, self.inputs, self.settings, self.config = folder, inputs, settings, config
        part = inputs.part
        self.targets: Matrix = part.targets_of(part.rows)
        self.asked: Places = np.searchsorted(part.rows, getattr(part, config.split)).astype(np.int64)
        self.queries: dict[str, list[Query]] = {}
        for name, fields in config.sets.items():
            lists = [catalogue.lists(field) for field in fields]
            words = [[word for own in lists for word in own[row]] for row in part.rows]
            if found := queries_of(self.targets, words, self.asked, config.smallest_pool):
                self.queries[name] = found

    def depends_on(self, entry: Entry, seed: int) -> dict[str, Any]:
        """Return everything that the measures of a model depend on."""
        return {
            "schema": _SCHEMA,
            "entry": entry.label,
            "settings": self.settings_of(entry),
            "reads": self.inputs.describe(entry),
            "measure": to_json(self.config),
            "seed": seed,
        }

    def settings_of(self, entry: Entry) -> dict[str, Any]:
        """Return the settings of an entry's model, with a fine-grained stage; empty for raw blocks.

        The stage as it starts is not trained. Isometric projections read nothing of the coarse network, which need not
        be more than begun for them.
        """
        settings = self.settings.get(entry.label, {})
        if not settings:
            return {}
        settings = {**settings, "fine_stage": True}
        if entry.label == START:
            settings["fine"] = {**settings["fine"], "epochs": 0}
            if settings["fine"]["start"] == "isometric":
                settings["training"] = {**settings["training"], "epochs": 1}
        return settings

    def path(self, entry: Entry, seed: int) -> Path:
        """Return the file of what was measured."""
        name = f"spaces-{digest({**self.depends_on(entry, seed), 'seed': None})}-seed{seed}.safetensors"
        return self.folder / self.inputs.part.protocol / name

    def find(self, entry: Entry, seed: int) -> Measured | None:
        """Return what was measured before; None when it is not there or damaged."""
        path = self.path(entry, seed)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="np") as file:
                told = json.loads(file.metadata()["told"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        except (SafetensorError, ValueError, KeyError, TypeError):
            return None
        spaces = {name: {key: arrays[f"{name}: {key}"] for key in keys} for name, keys in told["spaces"].items()}
        return Measured(spaces=spaces, notes=tuple(told["notes"]), train_seconds=told["train_seconds"],
                        text=told["text"])  # fmt: skip

    def make(self, entry: Entry, seed: int, progress: Progress = silent) -> Measured:
        """Train a model, measure its spaces and keep what was measured."""
        found = self._of_blocks(entry, progress) if entry.label == RAW else self._trained(entry, seed, progress)
        arrays = {f"{name}: {key}": values for name, own in found.spaces.items() for key, values in own.items()}
        told = {
            "depends_on": self.depends_on(entry, seed),
            "spaces": {name: list(own) for name, own in found.spaces.items()},
            "notes": list(found.notes),
            "train_seconds": found.train_seconds,
            "text": found.text,
        }
        path = self.path(entry, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            save_file(arrays, temporary, metadata={"told": json.dumps(told)})
        return found

    def _of_blocks(self, entry: Entry, progress: Progress) -> Measured:
        """Measure the blocks as they are, and a space that tells nothing apart."""
        features = self.inputs.of(entry, self.inputs.part.rows)
        spaces = {RANDOM: Space([], len(features)), **raw_spaces(features)}
        return Measured(spaces=dict(self._all(spaces.items(), len(spaces), progress)), text=raw_text(features))

    def _trained(self, entry: Entry, seed: int, progress: Progress) -> Measured:
        """Train a model and measure its spaces; words are nowhere among what it is given."""
        part, inputs = self.inputs.part, self.inputs
        model = GatingModel(from_json(GatingConfig, self.settings_of(entry), entry.label), seed=SEED_STEP * seed)
        held_out = Validation(features=inputs.of(entry, part.validation), targets=part.targets_of(part.validation))
        learned = inputs.of(entry, part.train)
        told: Progress = lambda stage, done, total: progress(f"{entry.label}, seed {seed}: {stage}", done, total)  # noqa: E731
        start = time.perf_counter()
        model.fit(learned, part.targets_of(part.train), validation=held_out, progress=told)
        seconds = time.perf_counter() - start
        features = inputs.of(entry, part.rows)
        coarse, fine = _SPACES[entry.label]
        spaces = [(coarse, model.embed_coarse)] if coarse else []
        spaces += [(fine, model.embed)]
        made = ((name, Space.of_vectors(embed(features))) for name, embed in spaces)
        return Measured(
            spaces=dict(self._all(made, len(spaces), told)),
            notes=tuple(model.notes()),
            train_seconds=round(seconds, 2),
        )

    def _all(
        self, spaces: Iterable[tuple[str, Space]], n_spaces: int, progress: Progress
    ) -> Iterator[tuple[str, Measures]]:
        for done, (name, space) in enumerate(spaces, 1):
            yield name, measured(space, self.queries, self.targets, self.asked, self.config.k)
            progress("spaces measured", done, n_spaces)
