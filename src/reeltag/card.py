"""The model card: what a tagger is, what it was trained on, and the figures measured for it, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reeltag.added import AddedLabel
from reeltag.evaluation import Report
from reeltag.labels import LabelSpace

_ADDED = "## Labels added later"


def model_card(recipe: str, labels: LabelSpace, data: Mapping[str, Any], report: Report) -> str:
    """Return the card of a tagger.

    Args:
        recipe: Name of the recipe.
        labels: The label space.
        data: What it was trained on, as kept in ``config.json``.
        report: Figures on the validation titles.
    """
    evaluation = report.evaluation
    titles = data["labelled"]
    lines = [
        f"# reeltag tagger: {len(labels)} labels of `{labels.config.field}`, recipe `{recipe}`",
        "",
        f"Trained on {titles['train']:,} titles of `{data['source']}` (content {data['fingerprint']}); credits graph "
        f"of {titles['graph']:,} titles; early stopping, calibration and thresholds from {titles['validation']:,} "
        f"validation titles. Modalities: {report.metadata['modalities']}. Seed {report.metadata['seed']}, "
        f"{report.metadata['date']}.",
        "",
        "## Figures on the validation titles",
        "",
        "Early stopping, calibration and thresholds were chosen on these titles, so the figures flatter a little; "
        "`reeltag evaluate` measures on titles that nothing has seen.",
        "",
        "| threshold | micro F1 | macro F1 | weighted F1 | samples F1 | at least one right | abstained |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in evaluation.rules:
        shares = (s.micro_f1, s.macro_f1, s.weighted_f1, s.samples_f1, s.hit_at_least_one, s.abstention_rate)
        lines.append(f"| {s.rule} | {' | '.join(f'{share:.3f}' for share in shares)} |")
    ranking = evaluation.ranking
    lines += [
        "",
        f"mAP {_figure(ranking.mean_average_precision)}, AUROC {_figure(ranking.macro_auroc)}, "
        f"ECE {_figure(ranking.ece)}.",
        "",
        "| with these modalities only | micro F1 | macro F1 |",
        "|---|---|---|",
        *(f"| {' + '.join(m.modalities)} | {m.micro_f1:.3f} | {m.macro_f1:.3f} |" for m in report.modalities),
        "",
        "| label | training titles | validation titles | precision | recall | F1 |",
        "|---|---|---|---|---|---|",
    ]
    for own, count in zip(evaluation.labels, labels.counts, strict=True):
        figures = (own.precision, own.recall, own.f1)
        cells = " | ".join(f"{figure:.3f}" for figure in figures)
        lines.append(f"| {_cell(own.label)} | {count:,} | {own.support:,} | {cells} |")
    lines += [
        "",
        "## Use",
        "",
        "```",
        "reeltag tag THIS_FOLDER new_films.parquet --out tagged.parquet",
        "```",
        "",
        "Any field of a title but its id may be missing. Probabilities are calibrated for titles like the validation "
        "titles; check them on your own before you rely on them.",
        "",
    ]
    return "\n".join(lines)


def with_added_labels(card: str, added: Sequence[AddedLabel]) -> str:
    """Return a card whose last section tells of the labels that were added to the tagger after training."""
    before = card.partition(_ADDED)[0].rstrip("\n")
    if not added:
        return f"{before}\n"
    lines = [
        before,
        "",
        _ADDED,
        "",
        "Each from the examples counted here, by a head of its own; all else is as it was trained. Found and precision "
        "are of the examples left out in cross-validation, the precision estimated from the expected share.",
        "",
        "| label | examples | expected share | threshold | found | precision | F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in added:
        figures = (entry.share, entry.threshold, entry.recall, entry.precision, entry.f1)
        cells = " | ".join(_figure(figure) for figure in figures)
        lines.append(f"| {_cell(entry.label)} | {len(entry.examples):,} | {cells} |")
    return "\n".join([*lines, ""])


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
