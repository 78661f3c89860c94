"""``reeltag finetune``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from encoders.tiny import in_single_precision, save_bert, save_sentence
from finetuning import plot_rows
from reeltag.cli.finetune import build_config
from reeltag.encoders.sentence import SentenceEncoder
from reeltag.encoders.transformer import TransformerEncoder
from reeltag.errors import ConfigError
from reeltag.tagger import Tagger

from .runner import Commands

pytest.importorskip("sentence_transformers", reason="needs the extra 'text'")

QUICK = ("--set", "min_count=2", "--set", "batch_size=12", "--set", "learning_rate=0.003")


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    in_single_precision(monkeypatch)
    monkeypatch.setattr("reeltag.encoders.tunable.device_and_precision", lambda: ("cpu", torch.float32))


@pytest.fixture
def films(reeltag: Commands) -> Path:
    return reeltag.catalogue("plots.jsonl", plot_rows())


@pytest.fixture
def sentence(reeltag: Commands) -> str:
    return f"sentence:{save_sentence(reeltag.folder / 'base').relative_to(reeltag.folder)}"


def test_text(reeltag: Commands, films: Path, sentence: str) -> None:
    result = reeltag(
        "finetune", films, "--encoder", sentence, "--labels", "genres", "--labels", "tags", "--out", "encoders/mine",
        "--epochs", 1, *QUICK,
    )  # fmt: skip
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == f"fine-tuned {sentence} on 36 titles with 6 labels of genres, tags"
    assert lines[1] == "Labels shared with the 10 nearest titles, validation"
    shown = [line.split() for line in lines[2:-2] if line.strip() and "─" not in line]
    assert shown[0] == ["epoch", "loss", "overlap"]
    assert shown[1][:2] == ["before", "–"]
    assert shown[2][0] == "1"
    assert 0 < float(shown[2][2]) <= 1
    assert lines[-2:] == [
        "saved to encoders/mine",
        "next: reeltag train plots.jsonl --plot-encoder tfidf --plot-encoder sentence:encoders/mine --out runs/mine",
    ]
    assert f"before, labels shared with neighbours {shown[1][2]}\n" in result.err
    assert f"epoch 1: loss {shown[2][1]}, labels shared with neighbours {shown[2][2]}\n" in result.err
    assert SentenceEncoder("encoders/mine").encode(["love"])[0].shape == (1, 16)


def test_the_next_command_works_and_is_checked_for_leaks(reeltag: Commands, films: Path, sentence: str) -> None:
    reeltag("finetune", films, "--encoder", sentence, "--out", "mine", "--epochs", 1, "--background", *QUICK)
    trained = reeltag(
        "train", films, "--recipe", "quick.json", "--modalities", "plot", "--plot-encoder", "sentence:mine", "--out",
        "runs/mine",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    seen = Tagger.from_pretrained("runs/mine").fitted.fitted_on["encoder of plot"]
    assert {title_id[:-2] for title_id in seen} == {"train", "background"}
    clean = reeltag("evaluate", "runs/mine", films, "--json")
    assert clean.code == 0, clean.err
    report = json.loads((reeltag.folder / "runs" / "mine-test" / "report.json").read_text("utf-8"))
    assert report["metadata"]["leak check"] == "no fitted part has seen any of these titles"
    turned = reeltag.catalogue("turned.jsonl", [row | {"split": "test"} for row in plot_rows()])
    assert reeltag("evaluate", "runs/mine", turned, "--out", "leaky", "--json").code == 0
    report = json.loads((reeltag.folder / "leaky" / "report.json").read_text("utf-8"))
    assert "encoder of plot" in report["metadata"]["leak check"]


def test_json_is_the_whole_of_standard_output(reeltag: Commands, films: Path) -> None:
    save_bert(reeltag.folder / "bert")
    result = reeltag(
        "finetune", films, "--encoder", "transformer:bert", "--out", "mine", "--titles", 20, "--epochs", 2, "--seed", 3,
        "--set", "measured=0", "--json", *QUICK,
    )  # fmt: skip
    assert result.json["out"] == "mine"
    assert result.json["encoder"] == "transformer:mine"
    assert result.json["n_titles"] == 20
    assert set(result.json["labels"]) == {"genres:War", "genres:Romance", "genres:Thriller"}
    assert [told["epoch"] for told in result.json["history"]] == [0, 1, 2]
    assert [told["agreement"] for told in result.json["history"]] == [None] * 3
    assert "fine-tuning" in result.err
    told = json.loads((reeltag.folder / "mine" / "fitted_on.json").read_text("utf-8"))
    assert (told["seed"], len(told["ids"]), told["settings"]["titles"]) == (3, 20, 20)
    assert TransformerEncoder("mine").titles_seen() == told["ids"]


def test_a_catalogue_without_splits_is_split_as_train_would(reeltag: Commands, sentence: str) -> None:
    bare = reeltag.catalogue("bare.jsonl", [{k: v for k, v in row.items() if k != "split"} for row in plot_rows()])
    result = reeltag("finetune", bare, "--encoder", sentence, "--out", "mine", "--epochs", 1, *QUICK)
    assert result.code == 0, result.err
    assert "the catalogue has no splits: split as 'reeltag train' would\n" in result.err
    reeltag(
        "train", bare, "--recipe", "quick.json", "--modalities", "plot", "--plot-encoder", "sentence:mine",
        "--out", "runs/mine",
    )  # fmt: skip
    fitted_on = Tagger.from_pretrained("runs/mine").fitted.fitted_on
    assert set(fitted_on["encoder of plot"]) <= set(fitted_on["model"])


def test_own_label_fields(reeltag: Commands, sentence: str) -> None:
    rows = [{**row, "moods": row["tags"]} for row in plot_rows()]
    films = reeltag.catalogue("moody.jsonl", rows)
    result = reeltag(
        "finetune", films, "--encoder", sentence, "--labels", "genres", "--labels", "moods", "--out", "mine",
        "--epochs", 1, "--json", *QUICK,
    )  # fmt: skip
    assert "moods:loud" in result.json["labels"]


def test_options_and_settings_are_put_in() -> None:
    options = {"encoder": "minilm", "labels": ["tags"], "epochs": None, "titles": 5}
    config = build_config(options, ["objective=bce", "layers=2", "margin=0.5", 'labels=["tags", "keywords"]'])
    assert (config.encoder, config.labels, config.titles) == ("minilm", ("tags", "keywords"), 5)
    assert (config.objective, config.layers, config.margin, config.epochs) == ("bce", 2, 0.5, 3)
    with pytest.raises(ConfigError, match="there is no setting 'depth'"):
        build_config(options, ["depth=2"])


def test_mistakes(reeltag: Commands, films: Path, sentence: str) -> None:
    start = ("finetune", films, "--encoder", sentence, "--out", "mine")
    known = "those that can: minilm, sentence:MODEL, transformer:MODEL"
    columns = "id, plot, genres, tags, split"
    for words, because in (
        (("--encoder", "tfidf"), f"text encoder 'tfidf' cannot be fine-tuned; {known}"),
        (("--encoder", "sentence:./gone"), "model folder './gone' does not exist"),
        (("--labels", "moods"), f"plots.jsonl: label column 'moods' does not exist; columns: {columns}"),
        (("--labels", "keywords"), "plots.jsonl: no title of split train has a plot and words in keywords"),
        (("--set", "min_count=900"), "no label of field 'genres' is on at least 900 training titles and not excluded "
         "(3 labels seen); lower min_count or choose another field"),
        (("--set", "margin"), "--set takes PATH=VALUE; got 'margin'"),
        (("--set", "epochs=many"), "finetune.epochs: must be of type int; got 'many'"),
        (("--set", "layers=9", *QUICK), "layers must be at most 5, which the encoder has; got 9"),
        (("--titles", "-1"), "FinetuneConfig.titles must be between 0 and 1e+09; got -1"),
        (("--out", "base"), "base: exists and is not an empty folder; choose another folder"),
        (("--seed", "-1"), "finetune.seed must be between 0 and 2.14748e+09; got -1"),
    ):  # fmt: skip
        reeltag.fails(*start, *words, because=because)
