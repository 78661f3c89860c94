"""LabelTreeModel against napkinXC used directly on the rows its docstring describes."""

from __future__ import annotations

import builtins
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError, MissingExtraError, ModelError
from reeltag.features import Block, Features
from reeltag.models import LabelTreeConfig, LabelTreeModel, labeltree
from reeltag.models.linear_input import absent_block, scaled_block, scales_of

from .samples import films, hide

napkinxc = pytest.importorskip("napkinxc.models", reason="needs the extra 'xmlc'")

SMALL = LabelTreeConfig(max_leaves=3, n_threads=1)


def rows_by_hand(features: Features, reference: Features) -> Any:
    """Standardise dense blocks by the reference, clip at 5, scale to length 3; add a column of absence to each."""
    parts = []
    for name, known in reference.blocks.items():
        block = features.blocks[name]
        if block.is_sparse:
            values = block.values.toarray().astype(np.float64)
        else:
            rows = known.values[known.present].astype(np.float64)
            spread = np.where(rows.std(axis=0) > 1e-6, rows.std(axis=0), 1)
            values = np.clip((block.values - rows.mean(axis=0)) / spread, -5, 5) * 3 / np.sqrt(block.dim)
        values[~block.present] = 0
        parts += [values, ~block.present[:, None]]
    return sp.csr_matrix(np.hstack(parts).astype(np.float32))


def asked_one_by_one(tree: Any, rows: Any, n_labels: int) -> npt.NDArray[np.float64]:
    out = np.full((rows.shape[0], n_labels), np.nan)
    for title, pairs in enumerate(tree.predict_proba(rows, top_k=n_labels)):
        for label, probability in pairs:
            out[title, label] = probability
    return out


def gappy_films(n: int, seed: int, n_labels: int = 7) -> tuple[Features, npt.NDArray[np.float32]]:
    features, targets = films(n, seed=seed, n_labels=n_labels)
    return hide(hide(features, "credits", range(0, n, 5)), "plot", range(1, n, 7)), targets


@pytest.mark.parametrize("tree_type", labeltree.TREE_TYPES)
@pytest.mark.parametrize("ensemble", [1, 3])
def test_probabilities_are_those_of_napkinxc(tree_type: str, ensemble: int, tmp_path: Path) -> None:
    features, targets = gappy_films(120, seed=1)
    unseen, _ = gappy_films(40, seed=2)
    config = replace(SMALL, tree_type=tree_type, ensemble=ensemble, arity=3, liblinear_c=4.0, weights_threshold=0.05)
    model = LabelTreeModel(config, seed=5).fit(features, targets)
    expected = []
    for member in range(ensemble):
        theirs = napkinxc.PLT(
            str(tmp_path / str(member)), tree_type=tree_type, arity=3, max_leaves=3, seed=5 + member, threads=1,
            liblinear_c=4.0, liblinear_solver="L2R_LR", liblinear_eps=0.01, weights_threshold=0.05,
        )  # fmt: skip
        theirs.fit(rows_by_hand(features, features), [list(map(int, np.flatnonzero(row))) for row in targets])
        expected.append(asked_one_by_one(theirs, rows_by_hand(unseen, features), 7))
    np.testing.assert_allclose(model.predict_proba(unseen), np.mean(expected, axis=0), atol=1e-3)


def test_one_label_is_a_logistic_regression() -> None:
    features, targets = gappy_films(150, seed=1, n_labels=1)
    unseen, _ = gappy_films(40, seed=2, n_labels=1)
    config = LabelTreeConfig(weights_threshold=0, liblinear_c=2.0, n_threads=1)
    found = LabelTreeModel(config).fit(features, targets).predict_proba(unseen)
    train, test = (rows_by_hand(part, features).toarray() for part in (features, unseen))
    train, test = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train, test))
    solver = LogisticRegression(C=2.0, solver="liblinear", tol=1e-6).fit(train, targets[:, 0])
    np.testing.assert_allclose(found[:, 0], solver.predict_proba(test)[:, 1], atol=0.01)


@pytest.mark.parametrize("tree_type", labeltree.TREE_TYPES)
def test_one_seed_gives_one_result_whatever_the_threads_and_fits_before(tree_type: str) -> None:
    features, targets = films(80, n_labels=9)
    config = replace(SMALL, tree_type=tree_type)
    found = []
    for threads in (1, 1, 2, 3):
        LabelTreeModel(SMALL, seed=threads).fit(*films(30, seed=threads))
        model = LabelTreeModel(replace(config, n_threads=threads), seed=4).fit(features, targets)
        found.append(model.predict_proba(features))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_seeds_grow_other_trees_and_may_be_of_any_size() -> None:
    features, targets = films(60, n_labels=12)
    config = replace(SMALL, tree_type="balancedRandom")
    found = [LabelTreeModel(config, seed=seed).fit(features, targets).predict_proba(features) for seed in (1, 2, 2**40)]
    assert np.abs(found[0] - found[1]).max() > 1e-4
    assert np.isfinite(found[2]).all()


def test_labels_that_teach_nothing_get_exactly_their_base_rate() -> None:
    features, targets = films(30, n_labels=6)
    targets[:, [0, 3]], targets[:, 5] = 0, 1
    found = LabelTreeModel(SMALL).fit(features, targets).predict_proba(features)
    np.testing.assert_allclose(found[:, [0, 3]], 0.5 / 31, rtol=1e-6)
    np.testing.assert_allclose(found[:, 5], 30.5 / 31, rtol=1e-6)
    alone = LabelTreeModel(SMALL).fit(features, targets[:, [1, 2, 4]]).predict_proba(features)
    np.testing.assert_array_equal(found[:, [1, 2, 4]], alone)


def test_a_title_with_nothing_gets_exactly_the_base_rates() -> None:
    features, targets = gappy_films(50, seed=1)
    unseen, _ = gappy_films(10, seed=2)
    model = LabelTreeModel(SMALL).fit(features, targets)
    emptied = hide(hide(hide(unseen, "plot", [3, 6]), "year", [3, 6]), "credits", [3, 6])
    found = model.predict_proba(emptied)
    np.testing.assert_allclose(found[[3, 6]], np.tile((targets.sum(axis=0) + 0.5) / 51, (2, 1)), rtol=1e-6)
    others = np.delete(np.arange(10), [3, 6])
    np.testing.assert_array_equal(found[others], model.predict_proba(unseen)[others])


def test_many_labels_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 400, size=300)
    values = sp.csr_matrix((np.ones(300, np.float32), (np.arange(300), words)), shape=(300, 400))
    features = Features([str(row) for row in range(300)], {"plot.tfidf": Block(values, np.ones(300, np.bool_))})
    targets = np.zeros((300, 1500), np.float32)
    targets[np.arange(300), words * 3] = 1  # a word a label, and two of three labels that nobody has
    config = LabelTreeConfig(max_leaves=10, liblinear_c=100.0, n_threads=1)
    found = LabelTreeModel(config).fit(features, targets).predict_proba(features)
    assert found.shape == (300, 1500)
    assert (found.argmax(axis=1) == words * 3).mean() > 0.95
    np.testing.assert_allclose(found[:, 1::3], 0.5 / 301, rtol=1e-6)


def test_titles_are_asked_about_in_parts_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = films(40)
    model = LabelTreeModel(SMALL).fit(features, targets)
    whole = model.predict_proba(features)
    for cells in (1, 7, 50):
        monkeypatch.setattr(labeltree, "_CELLS", cells)
        np.testing.assert_array_equal(model.predict_proba(features), whole)


def test_embedding_is_the_direction_of_the_log_odds() -> None:
    features, targets = films(60)
    model = LabelTreeModel(replace(SMALL, liblinear_c=0.5)).fit(features, targets)
    p = model.predict_proba(features).astype(np.float64)
    log_odds = np.log(p / (1 - p))
    expected = log_odds / np.linalg.norm(log_odds, axis=1, keepdims=True)
    np.testing.assert_allclose(model.embed(features), expected, atol=1e-4)


# ---------------------------------------------------------------- storage


@pytest.mark.parametrize("ensemble", [1, 2])
def test_the_folder_may_be_deleted_after_loading(ensemble: int, tmp_path: Path) -> None:
    features, targets = gappy_films(60, seed=1)
    model = LabelTreeModel(replace(SMALL, ensemble=ensemble)).fit(features, targets)
    before = model.predict_proba(features)
    model.save_pretrained(tmp_path / "one")
    assert (tmp_path / "one" / "tree" / "member0" / "args.bin").is_file()
    loaded = LabelTreeModel.from_pretrained(tmp_path / "one")
    shutil.rmtree(tmp_path / "one")
    np.testing.assert_array_equal(loaded.predict_proba(features), before)
    loaded.save_pretrained(tmp_path / "two")
    again = LabelTreeModel.from_pretrained(tmp_path / "two")
    np.testing.assert_array_equal(again.predict_proba(features), before)


def test_fitting_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    features, targets = films(30)
    LabelTreeModel(SMALL).fit(features, targets).predict_proba(features)
    assert list(tmp_path.iterdir()) == []


def test_saving_over_an_older_model_leaves_nothing_of_it(tmp_path: Path) -> None:
    features, targets = films(40, n_labels=5)
    LabelTreeModel(replace(SMALL, ensemble=3)).fit(features, targets).save_pretrained(tmp_path)
    model = LabelTreeModel(SMALL).fit(features, targets)
    model.save_pretrained(tmp_path)
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["member0"]
    loaded = LabelTreeModel.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(features), model.predict_proba(features))


@pytest.mark.parametrize("file", ["args.bin", "tree.bin", "weights.bin"])
def test_a_damaged_or_missing_file_is_named(file: str, tmp_path: Path) -> None:
    features, targets = films(30)
    LabelTreeModel(SMALL).fit(features, targets).save_pretrained(tmp_path)
    path = tmp_path / "tree" / "member0" / file
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        ModelError, match=rf"tree/member0/{file}: must be as save_pretrained wrote it; the file has changed"
    ):
        LabelTreeModel.from_pretrained(tmp_path)
    path.unlink()
    with pytest.raises(
        ModelError, match=rf"tree/member0/{file}: must be there for the label tree to be read; the file is"
    ):
        LabelTreeModel.from_pretrained(tmp_path)


def test_settings_come_back_from_disk(tmp_path: Path) -> None:
    config = LabelTreeConfig(
        tree_type="huffman", arity=3, max_leaves=4, liblinear_c=0.5, weights_threshold=0.2, ensemble=2, n_threads=1
    )
    features, targets = films(20)
    LabelTreeModel(config, seed=3).fit(features, targets).save_pretrained(tmp_path)
    loaded = LabelTreeModel.from_pretrained(tmp_path)
    assert loaded.config == config
    assert loaded.seed == 3
    assert from_json(LabelTreeConfig, to_json(config)) == config


# ---------------------------------------------------------------- edges


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    features, targets = films(30)
    model = LabelTreeModel(replace(SMALL, ensemble=2, n_threads=2)).fit(features, targets)
    model.predict_proba(features)
    assert capfd.readouterr() == ("", "")


def without_napkinxc(monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def refuse(
        name: str,
        names: Mapping[str, object] | None = None,
        local_names: Mapping[str, object] | None = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if name.partition(".")[0] == "napkinxc":
            raise ImportError(name)
        return imports(name, names, local_names, wanted, level)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    features, targets = films(30)
    LabelTreeModel(SMALL).fit(features, targets).save_pretrained(tmp_path)
    without_napkinxc(monkeypatch)
    message = r"the model 'labeltree' needs the package 'napkinxc', .*: pip install 'reeltag\[xmlc\]'"
    with pytest.raises(MissingExtraError, match=message):
        LabelTreeModel(SMALL).fit(features, targets)
    with pytest.raises(MissingExtraError, match=message):
        LabelTreeModel.from_pretrained(tmp_path)


def test_base_rates_alone_are_loaded_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    features, _ = films(9)
    LabelTreeModel(SMALL).fit(features, np.zeros((9, 2), np.float32)).save_pretrained(tmp_path)
    without_napkinxc(monkeypatch)
    np.testing.assert_allclose(LabelTreeModel.from_pretrained(tmp_path).predict_proba(features), 0.05, rtol=1e-6)


def test_the_extra_is_the_one_that_the_model_was_written_for() -> None:
    settings = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    assert f'xmlc = ["{labeltree.REQUIREMENT}"]' in settings


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("arity", 1),
        ("max_leaves", 1),
        ("liblinear_c", 0.0),
        ("weights_threshold", -0.1),
        ("ensemble", 0),
        ("n_threads", 0),
    ],
)
def test_settings_out_of_range(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"LabelTreeConfig.{setting} must be between"):
        replace(LabelTreeConfig(), **{setting: value})  # type: ignore[arg-type]


def test_an_unknown_tree_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"LabelTreeConfig\.tree_type must be one of hierarchicalKmeans, huffman, .*; got 'oak'"
    ):
        LabelTreeConfig(tree_type="oak")


# ---------------------------------------------------------------- the rows


def test_rows_are_those_made_by_hand() -> None:
    features, _ = gappy_films(50, seed=1)
    unseen, _ = gappy_films(20, seed=2)
    scales = scales_of(features)
    rows = sp.hstack([scaled_block(name, block, scales) for name, block in unseen.blocks.items()])
    np.testing.assert_allclose(rows.toarray(), rows_by_hand(unseen, features).toarray(), atol=2e-4)


def test_a_block_that_no_title_has_is_one_that_is_not_there() -> None:
    features, _ = films(12)
    scales = scales_of(features)
    for name, block in features.blocks.items():
        absent = absent_block(name, 12, scales).toarray()
        np.testing.assert_array_equal(absent, scaled_block(name, block.hidden(), scales).toarray())
        assert absent_block(name, 0, scales).shape == (0, block.dim + 1)
