"""``reeltag demo``: the whole job on the bundled catalogue, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reeltag.cli.explain import show_explanation
from reeltag.cli.options import CachePath
from reeltag.cli.show import beside, figure, progress_bar, say
from reeltag.cli.tag import show_predictions

# films of the test split that most people know
_SHOWN_FILMS = (
    "tt0034492", "tt0039689", "tt0044706", "tt0052357", "tt0072271", "tt0073195", "tt0075148", "tt0076759", "tt0082158",
    "tt0086879", "tt0087332", "tt0107290", "tt0125439", "tt0198781", "tt0407887", "tt1504320", "tt7775622", "tt8946378",
)  # fmt: skip
_EXPLAINED = "tt0083658"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the tagger and the report.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    cache: CachePath = None,
) -> None:
    """Learn genres from some 3,500 bundled films, then tag films it has not seen: offline, about two minutes."""
    from reeltag.artefact import check_destination
    from reeltag.card import model_card
    from reeltag.demo import demo_catalogue
    from reeltag.evaluation import write_report
    from reeltag.tagger import Tagger

    check_destination(out)
    films = demo_catalogue()
    say(f"bundled catalogue: {len(films):,} films, {sum(map(bool, films.texts('plot'))):,} with a plot")
    tagger = Tagger("fusion", seed=seed, cache=cache)
    with progress_bar() as progress:
        tagger.fit(films, progress=progress)
        card = model_card("fusion", tagger.labels, tagger.fitted.data, tagger.evaluate(films, "validation").report)
        found = tagger.evaluate(films, "test", progress=progress)
    tagger.save_pretrained(out, card)
    folder = beside(out, "test")
    write_report(folder, found.report)
    found.predictions.write(folder / "predictions.parquet")
    rows = [row for row, title_id in enumerate(found.predictions.ids) if title_id in _SHOWN_FILMS]
    genres = dict(zip(films.ids, films.lists("genres"), strict=True))
    show_predictions(found.predictions.take(rows), len(rows), genres)
    show_explanation(tagger.explain(films, _EXPLAINED))
    scores, ranking = found.report.evaluation.scores, found.report.evaluation.ranking
    say(
        f"{found.report.evaluation.n_titles:,} films it has not seen: micro F1 {figure(scores.micro_f1)}, macro F1 "
        f"{figure(scores.macro_f1)}, mAP {figure(ranking.mean_average_precision)}, "
        f"at least one genre right for {figure(scores.hit_at_least_one)}"
    )
    say(f"\ntagger: {out}\nreport: {folder / 'report.html'}\n")
    say("now on your own films (.parquet, .csv, .jsonl or an MM-IMDb folder):")
    say("  reeltag check films.csv")
    say("  reeltag train films.csv --out runs/mine")
    say("  reeltag evaluate runs/mine films.csv")
    say("  reeltag tag runs/mine new.csv --out tagged.csv")
    say(f"  reeltag tag {out} new.csv          # with the tagger of this demo")
