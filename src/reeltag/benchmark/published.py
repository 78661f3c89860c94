"""The figures printed in papers, by table and row; None where a paper prints a dash.

IDKG (seed 001: Li et al., MM 2023) was measured on other data (MM-IMDb with 25,959 films, MM-IMDb 2.0 with 33,742)
and, by the authors' code, on a split whose test titles are training titles in three of five cases. The poster paper
(seed 002: Nareti et al., arXiv 2410.19764) was measured on other posters and genres, and states neither its split nor
any test. The XMLC paper (seed 003: Minici et al., SEBD 2022) was measured on other films and 85 tags; thresholds are
not stated. The trailer paper (seed 004: Fish et al., ICIP 2021) was measured on trailers that are not at hand. Nothing
here can be read as a clean test figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from reeltag.benchmark.long_tail import RANKING_METRICS
from reeltag.benchmark.weighted import AUROC, PRECISION, RECALL, WEIGHTED_NAMES

METRICS = ("micro_f1", "macro_f1", "weighted_f1", "samples_f1")
HIT = "hit_at_least_one"
METRIC_NAMES = {
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "samples_f1": "samples F1",
    HIT: "hit ratio",
    **{name: name for name in RANKING_METRICS},
    **WEIGHTED_NAMES,
}

Figures: TypeAlias = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where figures were printed.

    Attributes:
        name: The paper, in words.
        datasets: The datasets of its figures.
        metrics: What it prints on each, in order.
        short: What its figures were measured on, in a few words, of the first dataset.
        warning: Why they cannot be compared with ours.
        not_stated: What it says in words of the figures whose numbers it does not print, by figure.
    """

    name: str
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    short: str
    warning: str
    not_stated: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedRow:
    """What a paper prints of one model.

    Attributes:
        paper: The paper.
        figures: By dataset and metric, in the paper's order of both.
    """

    paper: Paper
    figures: tuple[Figures, ...]

    def value(self, metric: str, dataset: int = 0) -> float | None:
        """Return a figure; None when the paper does not print it."""
        if metric not in self.paper.metrics:
            return None
        return self.figures[dataset][self.paper.metrics.index(metric)]

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """Return the figures by dataset and metric."""
        by_dataset = zip(self.paper.datasets, self.figures, strict=True)
        return {name: dict(zip(self.paper.metrics, figures, strict=True)) for name, figures in by_dataset}


IDKG_PAPER = Paper(
    name="the IDKG paper (Li et al., MM 2023)",
    datasets=("MM-IMDb", "MM-IMDb 2.0"),
    metrics=METRICS,
    short="other data and a leaky split",
    warning="Published figures are the paper's own: other data (MM-IMDb, 25,959 films, and MM-IMDb 2.0, 33,742 films, "
    "with other plots, posters and CLIP features), on a leaky split: by the authors' code about 60 % of the test "
    "titles are training titles. They stand beside ours for orientation; a difference between them says nothing about "
    "the models.",
    not_stated={
        "figure 3": "The paper prints no numbers for figure 3; in words: for IDKG almost all genres are around 80 %, "
        "and for GMU the frequent genres are far better than the rare ones.",
        "figure 4": "The paper prints no numbers for figure 4; in words: τ = 0.1 is best on MM-IMDb.",
    },
)
POSTER_PAPER = Paper(
    name="the poster paper (Nareti et al., arXiv 2410.19764)",
    datasets=("IMDb posters",),
    metrics=("micro_f1", "macro_f1", HIT),
    short="other posters and 13 other genres",
    warning="Published figures are the paper's own: other data (13,882 IMDb posters with 13 genres, words read by "
    "Gemini-Pro-Vision, CLIP features), on a split that it does not state, without any test of significance. Its hit "
    "ratio is not defined either. They stand beside ours for orientation; a difference between them says nothing about "
    "the models.",
    not_stated={
        "the main result and the ablations": "Of the ablations no numbers are at hand; in words: without "
        "both attention modules the loss is at least 3 points."
    },
)
XMLC_PAPER = Paper(
    name="the XMLC paper (Minici et al., SEBD 2022)",
    datasets=("MoTags",),
    metrics=("micro_f1", "macro_f1"),
    short="5,595 other films and 85 other tags",
    warning="Published figures are the paper's own: other data (MoTags, 5,595 films with 85 tags of Wikipedia, "
    "Wikimedia and TMDB, the common genres among them; 2.82 tags and 71 words of plot a film), a stratified split of "
    "70 % and 30 %, without any test of significance, and at thresholds that it does not state. They stand beside ours "
    "for orientation; a difference between them says nothing about the models.",
)
TRAILER_PAPER = Paper(
    name="the trailer paper (Fish et al., ICIP 2021)",
    datasets=("MMX-Trailer-20",),
    metrics=("weighted_f1", AUROC, PRECISION, RECALL),
    short="other films, 20 other genres",
    warning="Published figures are the paper's own: other data (8,803 trailers with 20 genres of IMDb, 6 labels a "
    "trailer, and experts on frames, scenes, motion and sound), at thresholds that it does not state, without any test "
    "of significance. How titles were split is not stated; later code of its first author deals out scenes, so that "
    "those of one trailer are on both sides. Its column AU(ROC) has .134 for random scores, where an area "
    "under the ROC curve is .5: it may be one under precision and recall. Where the experts are other modalities, rows "
    "have the same join and nothing else in common. They stand beside ours for scale; a difference between them says "
    "nothing about the models.",
)


def _idkg(first: Figures, second: Figures) -> PublishedRow:
    return PublishedRow(IDKG_PAPER, (first, second))


def _trailer(*figures: float) -> PublishedRow:
    return PublishedRow(TRAILER_PAPER, (figures,))


_NONE: Figures = (None, None, None, None)
_FULL = _idkg((0.849, 0.832, 0.848, 0.839), (0.828, 0.811, 0.827, 0.807))
_GMU = _idkg((0.630, 0.541, 0.617, 0.630), (0.617, 0.575, 0.607, 0.588))

# table -> row -> figures
PUBLISHED: dict[str, dict[str, PublishedRow]] = {
    "table 2": {
        "GMU": _GMU,
        "CentralNet": _idkg((0.639, 0.561, 0.631, 0.639), (0.622, 0.594, 0.619, 0.606)),
        "MMBT": _idkg((0.669, 0.618, None, None), (0.635, 0.607, 0.652, 0.650)),
        "MFN": _idkg((0.675, 0.616, 0.675, 0.673), (0.656, 0.608, 0.664, 0.671)),
        "ReFNet": _idkg((0.680, 0.587, None, None), _NONE),
        "COCA": _idkg((0.677, 0.626, 0.668, 0.681), (0.659, 0.623, 0.649, 0.670)),
        "BLIP": _idkg((0.674, 0.628, 0.663, 0.675), (0.661, 0.618, 0.635, 0.663)),
        "BridgeTower": _idkg((0.682, 0.633, 0.676, 0.680), (0.668, 0.627, 0.684, 0.679)),
        "MM-GATBT": _idkg((0.685, 0.645, 0.683, 0.686), (0.674, 0.632, 0.697, 0.685)),
        "IDKG": _FULL,
    },
    "table 3": {
        "IDKG": _FULL,
        "IDKG - AT": _idkg((0.842, 0.829, 0.841, 0.831), (0.813, 0.794, 0.812, 0.792)),
        "IDKG - AT - G-CACL": _idkg((0.828, 0.816, 0.825, 0.817), (0.796, 0.779, 0.789, 0.783)),
        "IDKG - AT - G-CACL - KG": _idkg((0.677, 0.625, 0.661, 0.667), (0.668, 0.597, 0.652, 0.631)),
        "IDKG(GMU)": _idkg((0.832, 0.816, 0.832, 0.824), (0.797, 0.779, 0.795, 0.783)),
        "IDKG(GMU) - G-CACL": _idkg((0.819, 0.804, 0.817, 0.810), (0.782, 0.773, 0.790, 0.772)),
        "IDKG(GMU) - G-CACL - KG": _GMU,
    },
    "table 4": {
        "TransH": _idkg((0.833, 0.820, 0.831, 0.827), (0.813, 0.806, 0.815, 0.792)),
        "TransR": _idkg((0.839, 0.823, 0.838, 0.835), (0.814, 0.809, 0.820, 0.791)),
        "TransD": _idkg((0.835, 0.827, 0.828, 0.833), (0.817, 0.803, 0.823, 0.796)),
        "ComplEx": _idkg((0.827, 0.813, 0.825, 0.821), (0.806, 0.797, 0.812, 0.784)),
        "ConvE": _idkg((0.829, 0.822, 0.836, 0.825), (0.814, 0.805, 0.822, 0.792)),
        "RotatE": _FULL,
    },
    "table 5": {
        "MulCon": _idkg((0.830, 0.818, 0.827, 0.816), (0.806, 0.785, 0.792, 0.784)),
        "MCL": _idkg((0.832, 0.813, 0.829, 0.822), (0.811, 0.794, 0.802, 0.787)),
        "MLTC": _idkg((0.835, 0.821, 0.825, 0.826), (0.815, 0.799, 0.812, 0.792)),
        "C-GMVAE": _idkg((0.846, 0.828, 0.846, 0.840), (0.825, 0.807, 0.824, 0.806)),
        "G-CACL (random)": _idkg((0.841, 0.828, 0.842, 0.835), (0.821, 0.808, 0.821, 0.802)),
        "G-CACL": _FULL,
    },
    "poster, main result": {"full model": PublishedRow(POSTER_PAPER, ((0.7234, 0.6823, 0.8755),))},
    "xmlc table 3": {
        "BERT": PublishedRow(XMLC_PAPER, ((0.176, 0.025),)),
        "BERT*": PublishedRow(XMLC_PAPER, ((0.498, 0.163),)),
        "our_approach": PublishedRow(XMLC_PAPER, ((0.507, 0.253),)),
    },
    "trailer, ablations": {
        "Random": _trailer(0.318, 0.134, 0.19, 1.0),
        "Scene": _trailer(0.434, 0.489, 0.437, 0.48),
        "Audio": _trailer(0.454, 0.449, 0.400, 0.537),
        "Motion": _trailer(0.463, 0.487, 0.448, 0.494),
        "Image": _trailer(0.516, 0.554, 0.493, 0.572),
        "Image + Audio": _trailer(0.544, 0.558, 0.476, 0.65),
        "Image + Motion": _trailer(0.535, 0.553, 0.511, 0.583),
        "Image + Scene": _trailer(0.531, 0.539, 0.490, 0.600),
        "Naive Concat": _trailer(0.525, 0.497, 0.522, 0.551),
        "MMX-Trailer-20": _trailer(0.597, 0.583, 0.554, 0.697),
    },
}

# figure 5: attention of poster, plot and credits in three films, with the number of people the graph knows
PUBLISHED_CASES: tuple[dict[str, object], ...] = (
    {"plot": "The desert can be a lonely place for the…", "people": 29, "poster": 0.8241, "text": 0.3704,
     "credits": 0.8226},
    {"plot": "A young boy struggles on his own in a run…", "people": 38, "poster": 0.3731, "text": 0.7088,
     "credits": 0.8162},
    {"plot": "A documentary directed by one of their own…", "people": 5, "poster": 0.6593, "text": 0.7935,
     "credits": 0.3078},
)  # fmt: skip
