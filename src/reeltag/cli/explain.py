"""``reeltag explain``: why a title got its labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reeltag.cli.options import (
    AsJson,
    CachePath,
    Maps,
    PosterPaths,
    Separator,
    TaggerPath,
    TrailerPaths,
    read_catalogue,
)
from reeltag.cli.show import say, say_json, table

if TYPE_CHECKING:
    from reeltag.explain import AttentionEvidence, Explanation
    from reeltag.explain_tokens import PosterEvidence

_SHOWN_PEOPLE = 8
_SHOWN_LABELS = 3
_WORDS_EACH_WAY = 3  # words told that speak most for a label, and against it


def explain(
    tagger: TaggerPath,
    title_id: Annotated[str, typer.Argument(help="Id of the title.", show_default=False)],
    catalogue: Annotated[
        Path | None,
        typer.Option(help="Catalogue that holds the title (default: the one trained on).", show_default=False),
    ] = None,
    neighbours: Annotated[int, typer.Option(help="Nearest training titles shown.", min=0)] = 5,
    html: Annotated[
        Path | None, typer.Option(help="Write it as a page too, with the poster.", show_default=False)
    ] = None,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Say which modality, which credits and which like titles speak for the labels of a title."""
    from reeltag.errors import CatalogueError
    from reeltag.explain_page import explanation_to_html
    from reeltag.files import atomic_file
    from reeltag.tagger import Tagger

    trained = Tagger.from_pretrained(tagger, cache=cache)
    path = catalogue or Path(trained.fitted.data["source"])
    if catalogue is None and not path.exists():
        raise CatalogueError(f"{path}: the catalogue this tagger was trained on is not there; give --catalogue")
    films = read_catalogue(path, maps=maps, posters=posters, trailers=trailers, separator=separator)
    explanation = trained.explain(films, title_id, n_neighbours=neighbours)
    if html is not None:
        with atomic_file(html) as temporary:
            temporary.write_text(explanation_to_html(explanation, films), encoding="utf-8")
    if as_json:
        say_json(explanation.to_json())
        return
    show_explanation(explanation)
    if html is not None:
        say(f"page: {html}")


def show_explanation(explanation: Explanation) -> None:
    """Print an explanation."""
    year = f" ({explanation.year})" if explanation.year else ""
    say(f"{explanation.title or explanation.id}{year}  {explanation.id}")
    absent = f"; absent: {', '.join(explanation.absent)}" if explanation.absent else ""
    say(f"known: {', '.join(explanation.present) or 'nothing'}{absent}")
    if explanation.abstained:
        say("no label above its threshold")
    modalities = list(explanation.present)
    rows = [
        [
            f"{'●' if entry.applies else '○'} {entry.label}",
            f"{entry.probability:.2f}",
            f"{entry.threshold:.2f}",
            *(f"{entry.modalities[m]:+.2f}" for m in modalities),
        ]
        for entry in explanation.labels
    ]
    table("Labels; what each modality adds to the log-odds", ["label", "probability", "threshold", *modalities], rows)
    for evidence in explanation.added:
        say(f"{evidence.in_words()}\n")
    if explanation.attention is not None:
        show_attention(explanation.attention)
    if explanation.poster is not None:
        show_words(explanation.poster, [entry.label for entry in explanation.labels[:_SHOWN_LABELS]])
    if explanation.people:
        names = [entry.label for entry in explanation.labels[:_SHOWN_LABELS]]
        rows = [
            [
                person.person,
                "director" if person.role == "directors" else "cast",
                f"{person.n_films:,}",
                ", ".join(f"{label} {n}" for label, n in person.counts.items()) or "–",
                *(f"{person.effects[name]:+.2f}" for name in names),
            ]
            for person in explanation.people[:_SHOWN_PEOPLE]
        ]
        headers = ["person", "as", "other films", "of them", *names]
        table("Credits; what each person adds to the log-odds", headers, rows, left=(0, 1, 3))
    if explanation.neighbours:
        rows = [
            [f"{n.title or n.id} ({n.year})" if n.year else n.title or n.id, ", ".join(n.labels), f"{n.similarity:.2f}"]
            for n in explanation.neighbours
        ]
        table("Nearest training titles", ["title", "labels", "similarity"], rows, left=(0, 1))


def show_attention(attention: AttentionEvidence) -> None:
    """Print what every modality counts, and what the teacher asks for the credits."""
    rows = [[modality, f"{weight:.3f}"] for modality, weight in attention.weights.items()]
    if attention.teacher is not None and "credits" in attention.weights:
        rows.append([f"credits, teacher's target ({attention.n_people} people known)", f"{attention.teacher:.3f}"])
    table("Attention; how much each modality counts, 0 to 1", ["modality", "weight"], rows)


def show_words(poster: PosterEvidence, labels: list[str]) -> None:
    """Print the words on the poster that speak most for and against each label, in reading order."""
    if not poster.words:
        say(f"words on the poster: {poster.words_absent}")
        return
    chosen: set[int] = set()
    for label in labels:
        order = sorted(range(len(poster.words)), key=lambda place: poster.words[place].effects[label])
        chosen |= {*order[:_WORDS_EACH_WAY], *order[-_WORDS_EACH_WAY:]}
    rows = [
        [
            word.text,
            "–" if word.confidence is None else f"{word.confidence:.2f}",
            *(f"{word.effects[label]:+.3f}" for label in labels),
        ]
        for word in (poster.words[place] for place in sorted(chosen))
    ]
    table("Words on the poster; what each adds to the log-odds", ["word", "read with confidence", *labels], rows)
    if len(poster.words) > len(rows):
        say(f"words that move these labels less: {len(poster.words) - len(rows):,}")
    if poster.n_unread:
        say(f"words beyond what the model reads: {poster.n_unread:,}")
