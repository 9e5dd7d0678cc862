"""What files are run on: open sizes, a person's own data, random values of every type."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import InputError
from compressor.measure.inputs import Feeding, SessionInput, feeds, handed_on

IMAGES = SessionInput("x", "float", ("N", 3, "height", "width"))
STATE = SessionInput("h", "float", (2, "N", 8))
"""Its first dimension counts layers."""
ROWS = np.arange(5, dtype=np.float32).reshape(5, 1)


def shapes(*entries: SessionInput, **feeding: object) -> dict[str, tuple[int, ...]]:
    found = feeds(entries, Feeding(**feeding), "f.onnx")  # type: ignore[arg-type]
    return {name: array.shape for name, array in found.items()}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"x": (4, 3, 5, 6)}, {"x": (4, 3, 5, 6), "h": (2, 4, 8)}),
        ({"height": (5,), "width": (6,)}, {"x": (1, 3, 5, 6), "h": (2, 1, 8)}),
        ({"height": (5,), "width": (6,), "N": (7,)}, {"x": (7, 3, 5, 6), "h": (2, 7, 8)}),
    ],
)
def test_open_sizes_are_given_by_input_or_by_name(
    sizes: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]
) -> None:
    """A size known of one input holds for all that name it."""
    assert shapes(IMAGES, STATE, shapes=sizes) == expected


def test_a_batch_size_is_that_of_open_first_dimensions() -> None:
    fixed = SessionInput("x", "float", (4, 3))
    assert shapes(SessionInput("x", "float", ("", 3)), batch=6) == {"x": (6, 3)}
    assert shapes(fixed) == shapes(fixed, batch=4) == {"x": (4, 3)}
    assert shapes(SessionInput("scale", "float", ()), batch=3) == {"scale": ()}
    with pytest.raises(InputError, match="fixed to batches of 4: measure with that batch size, not 1"):
        shapes(fixed, batch=1)


@pytest.mark.parametrize(
    ("entry", "feeding", "said"),
    [
        (IMAGES, {}, "dimension 2 of input 'x' is open .height.: say --shape x=1x3x…x…, or --shape height=…"),
        (IMAGES, {"shapes": {"x": (1, 4, 5, 5)}}, "takes N×3×height×width, not 1×4×5×5"),
        (IMAGES, {"shapes": {"N": (1, 2)}}, "'N' is one dimension"),
        (IMAGES, {"shapes": {"z": (1,)}}, "no input and no open dimension 'z'"),
        (IMAGES, {"arrays": {"x": ROWS}}, "the data hold 5×1"),
        (IMAGES, {"arrays": {"x": np.zeros((9, 1, 4, 4))}}, "not 1×1×4×4"),
        (IMAGES, {"arrays": {"a": ROWS, "b": ROWS}}, "takes x; the data hold a, b"),
        (SessionInput("x", "uint8", ("N", 1)), {"arrays": {"x": ROWS + 300}}, "some of which it cannot hold"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(entry: SessionInput, feeding: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        shapes(entry, **feeding)
    assert str(caught.value).startswith("f.onnx: ")


@given(batch=st.integers(1, 7), turn=st.integers(0, 9))
def test_data_are_gone_through_row_by_row_and_round(batch: int, turn: int) -> None:
    entry = SessionInput("x", "double", ("N", 1))
    found = feeds([entry], Feeding(batch=batch, arrays={"whatever": ROWS}), "f", turn=turn)["x"]
    assert found.dtype == np.float64
    assert found[:, 0].tolist() == [(turn * batch + row) % 5 for row in range(batch)]


def test_inputs_without_data_are_random_beside_those_with_it() -> None:
    found = feeds([IMAGES, STATE], Feeding(arrays={"x": np.ones((4, 3, 5, 5))}, batch=2), "f")
    assert (found["x"] == 1).all()
    assert found["h"].shape == (2, 2, 8)
    assert found["h"].std() > 0.5


@pytest.mark.parametrize("kind", ["float", "float16", "bfloat16", "float8e4m3fn", "double"])
def test_random_floats_are_normal(kind: str) -> None:
    array = feeds([SessionInput("x", kind, (2000,))], Feeding(), "f")["x"].astype(np.float64)
    assert abs(array.mean()) < 0.1
    assert array.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int32", "int64", "uint64", "bool", "string"])
def test_random_whole_numbers_are_0_and_1_and_follow_the_seed(kind: str) -> None:
    entry = SessionInput("x", kind, (64,))
    one, again, other = (feeds([entry], Feeding(), "f", seed=seed)["x"] for seed in (1, 1, 2))
    assert {int(number) for number in one} == {0, 1}
    assert one.dtype == entry.dtype
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_another_file_gets_the_same_by_name_or_else_by_order() -> None:
    arrays = {"a": np.zeros(2, np.float32), "b": np.ones(2, np.float32)}
    swapped = [SessionInput("b", "float", (2,)), SessionInput("a", "float", (2,))]
    renamed = [SessionInput("p", "float", ("n",)), SessionInput("q", "float", (2,))]
    assert {name: array[0] for name, array in (handed_on(arrays, swapped) or {}).items()} == {"a": 0, "b": 1}
    assert {name: array[0] for name, array in (handed_on(arrays, renamed) or {}).items()} == {"p": 0, "q": 1}
    assert handed_on(arrays, [SessionInput("a", "float", (2,)), SessionInput("b", "int64", (2,))]) is None
    assert handed_on(arrays, [SessionInput("a", "float", (2,)), SessionInput("b", "float", (3,))]) is None
    assert handed_on(arrays, swapped[:1]) is None
