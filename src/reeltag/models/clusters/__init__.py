"""Extreme multi-label tagging by clusters: an embedder, k-means, and a local model per cluster (Minici et al. 2022).

As published (Minici, Pisani, Guarascio, Manco, SEBD 2022): vectors are made such that titles with like labels lie near
each other, by a triplet loss for several labels; k-means groups the training titles; a network per cluster, three
blocks of a dense layer with ReLU, batch normalisation and dropout, says the labels that occur in it, trained by the
class-balanced loss. ``XMLC_PUBLISHED`` are these settings; ``n_clusters`` 0 leaves the global model alone, ``embedder``
none the vectors as they are, which are the paper's rows "BERT*" and "BERT".

What differs: the published embedder fine-tunes BERT itself; here a projection is trained over the blocks, whatever
encoder they come from. A label that does not occur in a cluster is nil there as published; here a global model over
all labels speaks for it, trained at the same time, and of several ``nearest`` clusters the probabilities are averaged.
Of a title of which nothing is known the base rates are said.
"""

from __future__ import annotations

from reeltag.models.clusters.clusterer import Cluster, cluster_report
from reeltag.models.clusters.model import ClustersModel
from reeltag.models.clusters.network import ClustersNetwork
from reeltag.models.clusters.settings import XMLC_PUBLISHED, ClustersConfig

__all__ = ["XMLC_PUBLISHED", "Cluster", "ClustersConfig", "ClustersModel", "ClustersNetwork", "cluster_report"]
