"""Fine-tuning of a text encoder on the labels of a catalogue, so that texts of like labels get like vectors.

The embedder of Minici et al. (SEBD 2022): three instances of one network that share their weights, trained on triplets
of anchor, positive and negative. The folder that comes out is opened as any other encoder, and says which titles it has
learned from.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import reeltag
from reeltag.catalogue import Catalogue
from reeltag.config import check_range, to_json
from reeltag.encoders.pretrained import FITTED_ON
from reeltag.encoders.tunable import TunableEncoder, open_tunable, train_last_layers
from reeltag.files import atomic_folder, check_replaceable, write_json
from reeltag.finetune.agreement import neighbour_agreement
from reeltag.finetune.batches import grouped_batches
from reeltag.finetune.config import OBJECTIVES, FinetuneConfig
from reeltag.finetune.titles import LabelledTexts, Material, choose_titles
from reeltag.finetune.trainer import EpochReport, FinetuneRun, Report
from reeltag.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """What came of it.

    Attributes:
        encoder: What the new encoder is opened by.
        n_titles: Titles it has learned from.
        labels: As ``field:label``.
        history: What the encoder was (epoch 0), and every epoch.
    """

    encoder: str
    n_titles: int
    labels: tuple[str, ...]
    history: tuple[EpochReport, ...]


def finetune(
    catalogue: Catalogue,
    out: Path,
    *,
    config: FinetuneConfig | None = None,
    seed: int = 0,
    progress: Progress = silent,
    report: Report | None = None,
) -> Finetuned:
    """Fine-tune a text encoder on the plots and labels of training titles.

    An interrupted run goes on when the same call is made again: its state is beside ``out``, named OUT.checkpoint.

    Args:
        catalogue: Titles with splits; those of ``train`` are learned from, and ``background`` by choice. Validation
            titles are only looked at to tell how far neighbours share labels.
        out: Folder for the encoder, which must not be there yet: taggers go by the encoder they were trained with.
        config: Settings.
        seed: Same seed, same result on the same machine and number of threads.
        progress: Called as the work advances.
        report: Called after every epoch, and once before the first.

    Returns:
        Where the encoder is and how training went.

    Raises:
        ArtefactError: ``out`` is there, or the checkpoint is of another run.
        EncoderError: The encoder is not there, or cannot be fine-tuned.
        SplitError: There are no splits, or no training titles with plot and labels.
        LabelError: No label is frequent enough.
        ModelError: The loss is no longer finite.
    """
    config = config or FinetuneConfig()
    check_range("finetune", "seed", seed, 0, 2**31 - 1)
    check_replaceable(out, lambda _: False, "an empty folder")
    encoder = open_tunable(config.encoder, config.max_pieces)
    train_last_layers(encoder.network, config.layers)
    material = choose_titles(catalogue, config, seed)
    settings = {name: value for name, value in to_json(config).items() if name != "checkpoint_every_s"}
    identity = {
        "settings": settings,
        "seed": seed,
        "encoder": encoder.fingerprint,
        "catalogue": catalogue.fingerprint(),
    }
    place = out.with_name(f"{out.name}.checkpoint")
    run = FinetuneRun(encoder, material, config, seed)
    history = run.run(place, identity, progress, report or _ignore)
    found = Finetuned(
        encoder=f"{encoder.kind}:{out}", n_titles=len(material.learned), labels=material.labels, history=history
    )
    with atomic_folder(out) as temporary:
        encoder.save(temporary)
        write_json(temporary / FITTED_ON, _provenance(catalogue, encoder, material, found, identity))
    shutil.rmtree(place, ignore_errors=True)
    return found


def _provenance(
    catalogue: Catalogue, encoder: TunableEncoder, material: Material, found: Finetuned, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is written into the folder: the titles learned from, here and before, and how."""
    return {
        "ids": list(dict.fromkeys([*encoder.titles_seen(), *material.learned.ids])),
        "settings": identity["settings"],
        "seed": identity["seed"],
        "encoder": {"spec": encoder.spec, "fingerprint": encoder.fingerprint, "pieces": encoder.limit},
        "catalogue": {"source": catalogue.source, "fingerprint": identity["catalogue"]},
        "labels": list(material.labels),
        "history": [to_json(told) for told in found.history],
        "versions": {"reeltag": reeltag.__version__}
        | {name: version(name) for name in ("torch", "transformers", "sentence-transformers")},
    }


def _ignore(_: EpochReport) -> None:
    """Ignore the report of an epoch."""


__all__ = [
    "OBJECTIVES",
    "EpochReport",
    "FinetuneConfig",
    "Finetuned",
    "LabelledTexts",
    "Material",
    "choose_titles",
    "finetune",
    "grouped_batches",
    "neighbour_agreement",
]
