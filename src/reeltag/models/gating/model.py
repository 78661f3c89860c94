"""GatingModel: collaborative gating of experts, and the fine-grained space of seed 004.

Fish, Weinbren and Gilbert (2020, arXiv 2012.02639): experts that look at a trailer and listen to it are gated by each
other and learn genres; then the network goes on learning self-supervised, and sub-genres appear in its space. Here an
expert is any modality, and a title with plot and poster alone has two.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from reeltag.features import Features
from reeltag.models.contract import Targets, Validation
from reeltag.models.estimator import NetworkConfig, NetworkModel, load_parameters
from reeltag.models.gating.fine import FineNetwork, fit_fine
from reeltag.models.gating.network import GatingNetwork
from reeltag.models.gating.settings import GatingConfig
from reeltag.models.objective import parts_of
from reeltag.progress import Progress, silent

_FINE = "fine.safetensors"


class GatingModel(NetworkModel):
    """Estimator around GatingNetwork, and around FineNetwork when there is a fine-grained stage.

    ``predict_proba`` is that of the coarse stage; ``embed`` is the fine-grained space when there is one.
    """

    config_class: ClassVar[type[NetworkConfig]] = GatingConfig
    network_class: ClassVar[type[nn.Module]] = GatingNetwork
    reads_tokens: ClassVar[bool] = True

    config: GatingConfig

    def __init__(self, config: GatingConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self._fine: FineNetwork | None = None

    def fit(
        self,
        features: Features,
        targets: Targets,
        *,
        validation: Validation | None = None,
        label_vectors: npt.NDArray[np.float32] | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Train the coarse stage as every network is trained, and then the fine-grained one, if there is to be one.

        Args:
            features: Features of the training titles.
            targets: 0 and 1, (n_titles, n_labels).
            validation: Held-out titles for early stopping of the coarse stage.
            label_vectors: Not used.
            progress: Called as the work advances.
        """
        self._fine = None
        super().fit(features, targets, validation=validation, label_vectors=label_vectors, progress=progress)
        if self.config.fine_stage:
            coarse: GatingNetwork = self._fitted()[0]  # type: ignore[assignment]
            truth = torch.from_numpy(np.ascontiguousarray(targets, np.float32))
            told: Progress = lambda _, done, total: progress("fine-grained training", done, total)  # noqa: E731
            self._fine, _ = fit_fine(
                coarse, self._fitted_layout(), self.config, self._rows(features), truth, seed=self.seed, progress=told
            )
        return self

    @torch.inference_mode()
    def embed(self, features: Features) -> npt.NDArray[np.float32]:
        """Return unit vectors (n_titles, dim) of the fine-grained space, or of the coarse one when there is no other.

        A title of which nothing is known is a vector of zeros. They are computed in single precision: likeness is told
        by small differences.
        """
        if self._fine is None:
            return self.embed_coarse(features)
        parts = parts_of(len(features), tokens=self._fitted_layout().n_tokens > 0)
        found = [self._fine(self._rows(features.take(part)).take(slice(None))).fused for part in parts]
        return np.asarray(torch.cat(found).numpy(), np.float32)

    def embed_coarse(self, features: Features) -> npt.NDArray[np.float32]:
        """Return unit vectors (n_titles, dim) of the coarse space, in which genres lie apart."""
        return super().embed(features)

    def expert_weights(self) -> dict[str, float]:
        """Return what every modality counts in the fine-grained space, the largest 1; empty without that space."""
        if self._fine is None:
            return {}
        return dict(zip(self._fitted_layout().modalities, self._fine.weights.tolist(), strict=True))

    def notes(self) -> list[str]:
        """Return what training has come to, for people."""
        if not (weights := self.expert_weights()):
            return []
        return ["fine-grained space: " + ", ".join(f"{name} counts {weight:.2f}" for name, weight in weights.items())]

    def save_pretrained(self, folder: Path) -> None:
        """Write ``model.json``, ``model.safetensors`` and, when there is a fine-grained space, ``fine.safetensors``."""
        super().save_pretrained(folder)
        if self._fine is not None:
            save_file({n: t.contiguous() for n, t in self._fine.state_dict().items()}, folder / _FINE)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read what ``save_pretrained`` wrote.

        Raises:
            ModelError: Its tensors are not those of its settings.
        """
        model = super().from_pretrained(folder)
        config = model.config
        if config.fine_stage:
            dim = config.fine.dim if config.fine.start == "isometric" else None
            fine = FineNetwork(GatingNetwork(model._fitted_layout(), config, dim), config.fine)
            load_parameters(fine, load_file(folder / _FINE), _FINE)
            model._fine = fine.eval()
        return model
