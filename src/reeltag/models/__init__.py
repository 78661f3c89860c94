"""Models by name, behind one contract. A new model is one file and one line in ``MODELS``."""

from __future__ import annotations

from reeltag.models.centralnet import CentralNetConfig, CentralNetModel
from reeltag.models.clusters import XMLC_PUBLISHED, ClustersConfig, ClustersModel
from reeltag.models.contract import Model, Targets, Validation
from reeltag.models.early import EarlyConfig, EarlyModel
from reeltag.models.fusion import FusionConfig, FusionModel
from reeltag.models.gating import GATING_PUBLISHED, FineConfig, GatingConfig, GatingModel
from reeltag.models.gmu import GmuConfig, GmuModel
from reeltag.models.idkg import IdkgConfig, IdkgModel
from reeltag.models.knn import KnnConfig, KnnModel
from reeltag.models.labeltree import LabelTreeConfig, LabelTreeModel
from reeltag.models.late import LateConfig, LateModel
from reeltag.models.linear import LinearConfig, LinearModel
from reeltag.models.mfn import MfnConfig, MfnModel
from reeltag.models.mmbt import MmbtConfig, MmbtModel
from reeltag.models.mmgatbt import MmgatbtConfig, MmgatbtModel
from reeltag.models.poster import PosterConfig, PosterModel
from reeltag.models.refnet import RefNetConfig, RefNetModel
from reeltag.models.xmlc import XmlcConfig, XmlcModel

MODELS: dict[str, type[Model]] = {
    "linear": LinearModel,
    "knn": KnnModel,
    "labeltree": LabelTreeModel,
    "fusion": FusionModel,
    "early": EarlyModel,
    "late": LateModel,
    "gmu": GmuModel,
    "centralnet": CentralNetModel,
    "mfn": MfnModel,
    "refnet": RefNetModel,
    "mmbt": MmbtModel,
    "mmgatbt": MmgatbtModel,
    "idkg": IdkgModel,
    "poster": PosterModel,
    "xmlc": XmlcModel,
    "clusters": ClustersModel,
    "gating": GatingModel,
}

__all__ = [
    "GATING_PUBLISHED",
    "MODELS",
    "XMLC_PUBLISHED",
    "CentralNetConfig",
    "CentralNetModel",
    "ClustersConfig",
    "ClustersModel",
    "EarlyConfig",
    "EarlyModel",
    "FineConfig",
    "FusionConfig",
    "FusionModel",
    "GatingConfig",
    "GatingModel",
    "GmuConfig",
    "GmuModel",
    "IdkgConfig",
    "IdkgModel",
    "KnnConfig",
    "KnnModel",
    "LabelTreeConfig",
    "LabelTreeModel",
    "LateConfig",
    "LateModel",
    "LinearConfig",
    "LinearModel",
    "MfnConfig",
    "MfnModel",
    "MmbtConfig",
    "MmbtModel",
    "MmgatbtConfig",
    "MmgatbtModel",
    "Model",
    "PosterConfig",
    "PosterModel",
    "RefNetConfig",
    "RefNetModel",
    "Targets",
    "Validation",
    "XmlcConfig",
    "XmlcModel",
]
