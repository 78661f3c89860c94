"""Features: blocks, masks, selection; what must never be mistaken for knowledge."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from reeltag.errors import FeatureError
from reeltag.features import Block, Features, HeldTokens, NoTokens, TokenBlock, modality_of, padded


def block(n: int = 4, dim: int = 2, present: list[bool] | None = None, *, sparse: bool = False) -> Block:
    values = np.arange(1, n * dim + 1, dtype=np.float32).reshape(n, dim)
    mask = np.ones(n, np.bool_) if present is None else np.array(present)
    return Block(sp.csr_matrix(values) if sparse else values, mask)


def features() -> Features:
    return Features(
        ["a", "b", "c", "d"],
        {
            "plot.tfidf": block(dim=5, present=[True, False, False, True], sparse=True),
            "year": block(dim=1, present=[True, True, False, True]),
            "plot.minilm": block(dim=3, present=[False, True, False, True]),
        },
    )


# ---------------------------------------------------------------- block


@pytest.mark.parametrize("sparse", [False, True])
def test_block_knows_its_width_and_kind(sparse: bool) -> None:
    made = block(sparse=sparse)
    assert (made.dim, made.is_sparse) == (2, sparse)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("rows", [[2, 0, 2], [], [3], np.array([True, False, False, True])])
def test_block_takes_rows_in_order(sparse: bool, rows: list[int]) -> None:
    made = block(present=[True, False, True, True], sparse=sparse)
    chosen = np.asarray(rows) if len(rows) else np.zeros(0, np.int64)
    taken = made.take(chosen)
    dense = made.values.toarray() if sparse else made.values
    found = taken.values.toarray() if sparse else taken.values
    np.testing.assert_array_equal(found, dense[chosen])
    np.testing.assert_array_equal(taken.present, made.present[chosen])
    assert taken.is_sparse == sparse


@pytest.mark.parametrize(
    ("values", "present", "rule"),
    [
        (np.zeros(3, np.float32), np.ones(3, np.bool_), r"got \(3,\) and \(3,\)"),
        (np.zeros((3, 2), np.float32), np.ones(2, np.bool_), r"got \(3, 2\) and \(2,\)"),
        (np.zeros((3, 2), np.float32), np.ones((3, 1), np.bool_), r"got \(3, 2\) and \(3, 1\)"),
        (np.zeros((3, 2)), np.ones(3, np.bool_), "float32 values and a boolean mask; got float64"),
        (np.zeros((3, 2), np.float32), np.ones(3), "got float32 and float64"),
        (sp.csr_matrix((3, 2)), np.ones(3, np.bool_), "got float64 and bool"),
    ],
)
def test_block_of_wrong_shape_or_type_is_refused(values: object, present: object, rule: str) -> None:
    with pytest.raises(FeatureError, match=rule):
        Block(values, present)  # type: ignore[arg-type]


# ---------------------------------------------------------------- features


def test_length_ids_and_modalities() -> None:
    made = features()
    assert len(made) == 4
    assert made.ids == ("a", "b", "c", "d")
    assert made.modalities == ("plot", "year")


def test_rows_must_agree_with_ids() -> None:
    with pytest.raises(FeatureError, match="block 'year' has 4 rows for 3 titles"):
        Features(["a", "b", "c"], {"year": block()})


def test_a_modality_is_present_when_any_of_its_blocks_is() -> None:
    made = features()
    np.testing.assert_array_equal(made.present("plot"), [True, True, False, True])
    np.testing.assert_array_equal(made.present("year"), [True, True, False, True])
    np.testing.assert_array_equal(made.present("poster"), [False] * 4)
    np.testing.assert_array_equal(made.present("plo"), [False] * 4)


@pytest.mark.parametrize("rows", [[3, 1], (1,), np.array([2, 2, 0]), np.array([False, True, False, True]), []])
def test_take_keeps_ids_and_rows_together(rows: list[int]) -> None:
    made = features()
    chosen = np.flatnonzero(rows) if np.asarray(rows).dtype == np.bool_ else np.asarray(rows, np.int64)
    taken = made.take(rows)
    assert taken.ids == tuple(made.ids[row] for row in chosen)
    for name, old in made.blocks.items():
        new = taken.blocks[name]
        assert abs(new.values - old.values[chosen]).sum() == 0
        np.testing.assert_array_equal(new.present, old.present[chosen])


def test_select_drops_whole_modalities() -> None:
    made = features()
    assert list(made.select(["plot"]).blocks) == ["plot.tfidf", "plot.minilm"]
    assert list(made.select({"year", "plot"}).blocks) == list(made.blocks)
    with pytest.raises(FeatureError, match="no modality poster, sound among the features; present: plot, year"):
        made.select(["sound", "plot", "poster"])


def test_without_marks_absent_and_touches_nothing_else() -> None:
    made = features()
    less = made.without("plot")
    assert list(less.blocks) == list(made.blocks)
    assert not less.present("plot").any()
    assert less.blocks["year"] is made.blocks["year"]
    assert made.present("plot").any()
    assert all(less.blocks[name].dim == made.blocks[name].dim for name in made.blocks)


def test_without_an_unknown_modality_is_the_same() -> None:
    made = features()
    assert made.without("poster").blocks == made.blocks


def test_only_is_without_all_others() -> None:
    made = features()
    np.testing.assert_array_equal(made.only(["year"]).present("year"), made.present("year"))
    assert not made.only(["year"]).present("plot").any()
    assert not any(made.only([]).present(modality).any() for modality in made.modalities)


def test_blocks_are_not_shared_with_the_callers_dict() -> None:
    blocks = {"year": block()}
    made = Features(["a", "b", "c", "d"], blocks)
    blocks["plot"] = block()
    assert list(made.blocks) == ["year"]


@pytest.mark.parametrize(("name", "modality"), [("plot", "plot"), ("plot.tfidf", "plot"), ("plot.a.b", "plot")])
def test_modality_of(name: str, modality: str) -> None:
    assert modality_of(name) == modality


def test_no_blocks_and_no_titles() -> None:
    empty = Features([], {})
    assert len(empty) == 0
    assert empty.modalities == ()
    assert empty.present("plot").shape == (0,)
    assert len(empty.take([])) == 0


# ---------------------------------------------------------------- tokens


def tokens(places: list[int], limit: int = 3) -> TokenBlock:
    sequences = [np.full((length, 2), length, np.float16) for length in (1, 4, 2)]
    return TokenBlock(HeldTokens(sequences, 2), np.array(places, np.int64), limit)


def test_tokens_are_read_when_asked_for() -> None:
    block = tokens([2, -1, 1, 0])
    assert block.present.tolist() == [True, False, True, True]
    assert block.dim == 2
    values, seen = block.read()
    assert (values.dtype, values.shape) == (np.float16, (4, 3, 2))
    assert seen.sum(axis=1).tolist() == [2, 0, 3, 1]  # four are cut to three
    assert values[0].tolist() == [[2, 2], [2, 2], [0, 0]]
    assert block.take([1, 3]).read()[1].tolist() == [[False], [True]]
    assert block.take(np.array([True, False, False, False])).places.tolist() == [2]
    assert not block.hidden().present.any()
    assert block.hidden().read()[0].shape == (4, 1, 2)


def test_no_sequences_are_one_token_that_is_not_real() -> None:
    values, seen = padded([], 5)
    assert values.shape == (0, 1, 5)
    assert seen.shape == (0, 1)
    values, seen = NoTokens(5).read(np.array([3, -1]), 9)
    assert values.shape == (2, 1, 5)
    assert not seen.any()


def test_features_with_tokens() -> None:
    whole = Features(["a", "b", "c", "d"], {"year": block(dim=1)}, {"poster.clip": tokens([2, -1, 1, 0])})
    assert whole.modalities == ("year", "poster")
    assert whole.present("poster").tolist() == [True, False, True, True]
    assert whole.take([3, 1]).tokens["poster.clip"].places.tolist() == [0, -1]
    assert not whole.without("poster").present("poster").any()
    assert whole.without("poster").tokens["poster.clip"].dim == 2
    assert whole.without("year").present("poster").any()
    assert list(whole.select(["poster"]).tokens) == ["poster.clip"]
    assert not whole.select(["poster"]).blocks
    assert not whole.select(["year"]).tokens
    assert whole.only(["year"]).present("poster").sum() == 0


def test_tokens_of_another_length_or_a_taken_name_are_refused() -> None:
    with pytest.raises(FeatureError, match=r"block 'poster.clip' has 2 rows for 4 titles"):
        Features(["a", "b", "c", "d"], {}, {"poster.clip": tokens([0, 1])})
    with pytest.raises(FeatureError, match="block 'year' is given as vectors and as tokens"):
        Features(["a", "b"], {"year": block(2, 1)}, {"year": tokens([0, 1])})


# ---------------------------------------------------------------- joining


@pytest.mark.parametrize("n", [0, 2])
def test_features_are_joined_title_after_title(n: int) -> None:
    own, more = features(), features().take([3, 1][:n])
    joined = own.joined(more)
    assert joined.ids == ("a", "b", "c", "d", "d", "b")[: 4 + n]
    for name, block_ in joined.blocks.items():
        parts = [part.blocks[name] for part in (own, more)]
        assert block_.is_sparse == parts[0].is_sparse
        dense = [part.values.toarray() if part.is_sparse else part.values for part in (block_, *parts)]
        np.testing.assert_array_equal(dense[0], np.concatenate(dense[1:]))
        np.testing.assert_array_equal(block_.present, np.concatenate([part.present for part in parts]))


def test_joined_tokens_are_read_from_their_one_source() -> None:
    source = HeldTokens([np.full((length, 2), length, np.float16) for length in (1, 2, 3)], 2)
    whole = Features(["a", "b", "c"], {}, {"poster": TokenBlock(source, np.array([0, -1, 2]), 9)})
    joined = whole.take([2]).joined(whole.take([1, 0]))
    assert joined.ids == ("c", "b", "a")
    assert joined.tokens["poster"].places.tolist() == [2, -1, 0]
    assert joined.present("poster").tolist() == [True, False, True]
    other = Features(["d"], {}, {"poster": TokenBlock(NoTokens(2), np.array([-1]), 9)})
    with pytest.raises(FeatureError, match="the tokens of 'poster' are read from two sources"):
        whole.joined(other)


@pytest.mark.parametrize(
    ("blocks", "rule"),
    [
        ({"plot": block(2)}, "block 'year' is in one of the two only"),
        ({"plot": block(2), "year": block(2), "title": block(2)}, "block 'title' is in one of the two only"),
        ({"plot": block(2, 3), "year": block(2)}, "block 'plot' is dense of width 2 and dense of width 3"),
        ({"plot": block(2), "year": block(2, sparse=True)}, "block 'year' is dense of width 2 and sparse of width 2"),
    ],
)
def test_features_described_otherwise_are_not_joined(blocks: dict[str, Block], rule: str) -> None:
    own = Features(["a", "b"], {"plot": block(2), "year": block(2)})
    with pytest.raises(FeatureError, match=f"features cannot be joined: {rule}"):
        own.joined(Features(["c", "d"], blocks))
