"""The tables and figures of the IDKG paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reeltag.benchmark.entries import Benchmark, Entry
from reeltag.benchmark.published import IDKG_PAPER
from reeltag.models.contract import PEOPLE, STANDING
from reeltag.recipes import IDKG_GMU, IDKG_PUBLISHED, RECIPES

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

IDKG_BENCHMARKS = (
    Benchmark(
        name="idkg-table2",
        title="IDKG and its rivals",
        paper=IDKG_PAPER,
        source="table 2",
        entries=_TABLE_2,
        reference=_OURS.label,
    ),
    Benchmark(
        name="idkg-table3",
        title="What each part of IDKG is worth",
        paper=IDKG_PAPER,
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
        paper=IDKG_PAPER,
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
        paper=IDKG_PAPER,
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
        paper=IDKG_PAPER,
        source="figure 3",
        entries=(_GMU, _IDKG, _OURS),
        reference="IDKG",
        draws="bars",
    ),
    Benchmark(
        name="idkg-figure4",
        title="IDKG by the temperature τ of its contrast",
        paper=IDKG_PAPER,
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
        paper=IDKG_PAPER,
        source="figure 5",
        entries=(_IDKG, _OURS),
        reference="IDKG",
        draws="cases",
    ),
)
