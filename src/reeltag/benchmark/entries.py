"""What is measured: the rows of the paper's tables and figures, each a model with its settings and what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reeltag.benchmark.published import PUBLISHED, PublishedRow
from reeltag.errors import ConfigError, shown
from reeltag.models.contract import PEOPLE, STANDING
from reeltag.recipes import IDKG_GMU, IDKG_PUBLISHED, RECIPES

SCORER = "rotate"  # of tables 2, 3 and 5
Credits = Literal["protocol", "sum", "none"]
Drawing = Literal["table", "bars", "curve", "cases"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row: a model, its settings and what it reads of a title.

    Attributes:
        label: Name that is shown.
        model: Name of a model; "" for a row that is never run.
        settings: Settings of the model that are not its defaults.
        credits: ``protocol`` reads the credits as the protocol has them, ``sum`` as the sum of the people's vectors,
            ``none`` not at all.
        side: Blocks that are no input of a network but read all the same: ``credits.standing``, ``credits.people``.
        joint: Prefix of the joint encoder (``blip``) whose block is all that is read; "" to read everything but joint.
        label_vectors: Give the model the labels' vectors of the graph embedding.
        scorer: Scorer of that embedding.
        published: Table and row of the paper's figures.
        x: Place on the axis of a curve.
        why_not: Why a row is never run.
    """

    label: str
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    credits: Credits = "protocol"
    side: tuple[str, ...] = ()
    joint: str = ""
    label_vectors: bool = False
    scorer: str = SCORER
    published: tuple[str, str] | None = None
    x: float | None = None
    why_not: str = ""

    @property
    def published_row(self) -> PublishedRow | None:
        """The paper's figures, if it has any."""
        return None if self.published is None else PUBLISHED[self.published[0]][self.published[1]]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A table or figure.

    Attributes:
        name: Name of the recipe.
        title: What it shows.
        entries: Its rows.
        reference: Label of the row that all others are tested against.
        draws: ``table`` only, or also ``bars`` per label, a ``curve`` over ``x``, or ``cases``.
        source: Table or figure of the paper.
    """

    name: str
    title: str
    entries: tuple[Entry, ...]
    reference: str
    draws: Drawing = "table"
    source: str

    def select(self, labels: Iterable[str]) -> tuple[Entry, ...]:
        """Return the rows of the given labels, in the order of the benchmark; all of them when there are none.

        Raises:
            ConfigError: There is no such row.
        """
        wanted, known = list(labels), [entry.label for entry in self.entries]
        for label in wanted:
            if label not in known:
                raise ConfigError(f"{self.name} has no entry {shown(label)}; known: {', '.join(known)}")
        return tuple(entry for entry in self.entries if not wanted or entry.label in wanted)


TAUS = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9)


def _idkg(
    label: str,
    base: dict[str, Any],
    published: tuple[str, str] | None = None,
    settings: dict[str, Any] | None = None,
) -> Entry:
    """Return an entry of IDKG with some settings changed."""
    return Entry(
        label=label,
        model="idkg",
        settings={**base, **(settings or {})},
        published=published,
        side=(STANDING,),
        label_vectors=True,
    )


def _rival(label: str, model: str, *, in_paper: bool = True, side: tuple[str, ...] = ()) -> Entry:
    return Entry(label=label, model=model, side=side, published=("table 2", label) if in_paper else None)


def _ablations(label: str, base: dict[str, Any], row: str | None) -> tuple[Entry, ...]:
    """Return a model and the same without its parts, one part more taken away in every row."""
    gated = base.get("fusion") == "gmu"  # gated units have no teacher
    steps: list[tuple[str, dict[str, Any]]] = [("", {"teacher_weight": 0.0} if gated else {})]
    if not gated:
        steps.append((" - AT", {"teacher_weight": 0.0}))
    steps.append((steps[-1][0] + " - G-CACL", {"teacher_weight": 0.0, "contrast": "none"}))
    entries = [
        _idkg(label + lost, base, ("table 3", row + lost) if row else None, settings) for lost, settings in steps
    ]
    lost = f"{steps[-1][0]} - KG"
    last = _idkg(label + lost, base, ("table 3", row + lost) if row else None, steps[-1][1])
    return (*entries, replace(last, credits="none", side=(), label_vectors=False))


_OUR_SETTINGS = RECIPES["idkg"].model_settings  # reads no graph embedding, so no label vectors either
_GMU = _rival("GMU", "gmu")
_IDKG = _idkg("IDKG", IDKG_PUBLISHED, ("table 2", "IDKG"))
_OURS = replace(_idkg("idkg (reeltag)", _OUR_SETTINGS), label_vectors=False)
_IDKG_GMU = _idkg("IDKG(GMU)", IDKG_GMU, ("table 3", "IDKG(GMU)"))
_TABLE_2 = (
    _GMU,
    _rival("CentralNet", "centralnet"),
    _rival("MMBT", "mmbt"),
    _rival("MFN", "mfn"),
    _rival("ReFNet", "refnet"),
    Entry(label="COCA", published=("table 2", "COCA"), why_not="not built"),
    Entry(label="BLIP", model="early", joint="blip", published=("table 2", "BLIP")),
    Entry(label="BridgeTower", model="early", joint="bridgetower", published=("table 2", "BridgeTower")),
    _rival("MM-GATBT", "mmgatbt", side=(PEOPLE,)),
    _rival("early fusion", "early", in_paper=False),
    _rival("late fusion", "late", in_paper=False),
    _rival("fusion (reeltag)", "fusion", in_paper=False),
    _IDKG_GMU,
    _IDKG,
    _OURS,
)
_SCORERS = {"TransH": "transh", "TransR": "transr", "TransD": "transd", "ComplEx": "complex", "ConvE": "conve",
            "RotatE": "rotate"}  # fmt: skip
_CONTRASTS: dict[str, dict[str, Any]] = {
    "MulCon": {"contrast": "mulcon"},
    "MCL": {"contrast": "mcl"},
    "MLTC": {"contrast": "mltc", "neighbour_share": 0.3},  # it asks the nearest training titles too
    "C-GMVAE": {"contrast": "cgmvae"},
}

_ALL = (
    Benchmark(
        name="idkg-table2",
        title="IDKG and its rivals",
        source="table 2",
        entries=_TABLE_2,
        reference=_OURS.label,
    ),
    Benchmark(
        name="idkg-table3",
        title="What each part of IDKG is worth",
        source="table 3",
        entries=(
            *_ablations("IDKG", IDKG_PUBLISHED, "IDKG"),
            *_ablations("IDKG(GMU)", IDKG_GMU, "IDKG(GMU)"),
            *(replace(entry, label_vectors=False) for entry in _ablations(_OURS.label, _OUR_SETTINGS, None)),
        ),
        reference="IDKG",
    ),
    Benchmark(
        name="idkg-table4",
        title="Graph embeddings behind IDKG's credits",
        source="table 4",
        entries=tuple(
            replace(_idkg(label, IDKG_PUBLISHED, ("table 4", label)), credits="sum", scorer=scorer)
            for label, scorer in _SCORERS.items()
        ),
        reference="RotatE",
    ),
    Benchmark(
        name="idkg-table5",
        title="Contrastive losses in IDKG",
        source="table 5",
        entries=(
            *(
                _idkg(label, IDKG_PUBLISHED, ("table 5", label), {"contrast_settings": {}, **settings})
                for label, settings in _CONTRASTS.items()
            ),
            replace(_idkg("G-CACL (random)", IDKG_PUBLISHED, ("table 5", "G-CACL (random)")), label_vectors=False),
            _idkg("G-CACL", IDKG_PUBLISHED, ("table 5", "G-CACL")),
        ),
        reference="G-CACL",
    ),
    Benchmark(
        name="idkg-figure3",
        title="F1 of frequent and rare labels",
        source="figure 3",
        entries=(_GMU, _IDKG, _OURS),
        reference="IDKG",
        draws="bars",
    ),
    Benchmark(
        name="idkg-figure4",
        title="IDKG by the temperature τ of its contrast",
        source="figure 4",
        entries=tuple(
            replace(
                _idkg(
                    f"τ = {tau:g}",
                    IDKG_PUBLISHED,
                    None,
                    {"contrast_settings": {"temperature": tau, "normalise": False}},
                ),
                x=tau,
            )
            for tau in TAUS
        ),
        reference="τ = 0.1",
        draws="curve",
    ),
    Benchmark(
        name="idkg-figure5",
        title="What IDKG attends to in single films",
        source="figure 5",
        entries=(_IDKG, _OURS),
        reference="IDKG",
        draws="cases",
    ),
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}


def benchmark(name: str) -> Benchmark:
    """Return a benchmark by name.

    Raises:
        ConfigError: There is no such benchmark.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"benchmark {shown(name)} is unknown; known: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
