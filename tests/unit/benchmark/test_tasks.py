"""What the sequence tasks of the benchmarks ask is asked right."""

import os
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.benchmark.sequences import BENCHMARKS
from tests.benchmark.tasks import IGNORED, Examples, Task, copying, induction, listops, mqar, pixels, speech
from tests.benchmark.tasks.examples import data_directory
from tests.benchmark.tasks.listops import FULL_SIZE, SYMBOLS, expressions, forest

SMALL = {"train": 40, "test": 30}


@pytest.fixture
def data():
    if not os.environ.get("LOGVQ_DATA"):
        pytest.skip("LOGVQ_DATA is not set")
    return data_directory()


def test_rows_are_cut_to_the_longest_of_them():
    inputs = torch.arange(15, dtype=torch.uint8).view(3, 5)
    examples = Examples(inputs, torch.tensor([7, 8, 9]), torch.tensor([2, 5, 3]))
    part = examples.rows(torch.tensor([2, 0]))
    assert len(part) == 2
    assert part.inputs.tolist() == [[10, 11, 12], [0, 1, 2]]
    assert part.inputs.dtype == torch.int64
    assert (part.labels.tolist(), part.lengths.tolist()) == ([9, 7], [3, 2])
    asked = Examples(inputs.float()[..., None], inputs.long(), examples.lengths).rows(torch.tensor([2, 0]))
    assert asked.inputs.shape == (2, 3, 1)
    assert asked.inputs.dtype == torch.float32
    assert asked.labels.tolist() == part.inputs.tolist()


def test_padding_weighs_nothing():
    weight = Examples(torch.zeros(2, 3), torch.zeros(2), torch.tensor([1, 3])).weight()
    assert weight.dtype == torch.float32
    assert weight.tolist() == [[1, 0, 0], [1, 1, 1]]


def test_chance_is_the_tests_share_of_the_answer_most_frequent_in_training():
    train = Examples.whole(torch.zeros(2, 3), torch.tensor([[IGNORED, 1, IGNORED], [1, 2, IGNORED]]))
    test = Examples.whole(torch.zeros(2, 3), torch.tensor([[2, 2, IGNORED], [2, 1, IGNORED]]))
    assert Task(train, {"test": test}, 3, 3).chance == 0.25


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_data_sets_it_says_what_to_set(monkeypatch, value):
    monkeypatch.delenv("LOGVQ_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("LOGVQ_DATA", value)
    with pytest.raises(SystemExit, match="set LOGVQ_DATA"):
        data_directory()


def test_every_key_is_asked_once_and_answered_with_its_value():
    task = mqar(**SMALL)
    for examples in (task.train, *task.tests.values()):
        for tokens, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
            values = dict(zip(tokens[:24:2], tokens[1:24:2], strict=True))
            answers = {tokens[at]: label for at, label in enumerate(labels) if label != IGNORED}
            assert len(values) == 12
            assert answers == values
            assert all(0 < key < 64 <= value < 128 for key, value in values.items())
            assert sum(token != 0 for token in tokens[24:]) == 12


def test_the_longer_test_asks_all_over_its_length():
    longer = mqar(**SMALL).tests["T=1,024"]
    asked = (longer.labels != IGNORED).nonzero()[:, 1]
    assert longer.inputs.shape == (30, 1024)
    # As many in each quarter of what follows the 24 positions of the pairs.
    quarters = ((asked - 24) // 250).bincount(minlength=4)
    assert quarters.sum() == 30 * 12
    assert quarters.min() > 60


@pytest.mark.parametrize(
    ("make", "lengths"),
    [(mqar, [128, 1024]), (induction, [256, 2048]), (copying, [256 + 16])],
)
def test_tests_are_named_by_their_length(make, lengths):
    tests = make(**SMALL).tests
    assert list(tests) == [f"T={length:,}" for length in lengths]
    assert [test.inputs.shape for test in tests.values()] == [(30, length) for length in lengths]


@pytest.mark.parametrize("make", [mqar, induction])
def test_without_a_stretch_there_is_one_test(make):
    assert len(make(**SMALL, stretch=1).tests) == 1


def test_copying_asks_for_the_items_in_order():
    task = copying(**SMALL)
    for tokens, labels in zip(task.train.inputs.tolist(), task.train.labels.tolist(), strict=True):
        assert tokens[256:] == [1] * 16
        assert [token for token in tokens[:256] if token] == labels[256:]
        assert set(labels[:256]) == {IGNORED}


def test_induction_asks_for_what_followed_the_special_token():
    task = induction(**SMALL)
    for examples in (task.train, *task.tests.values()):
        for tokens, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
            assert [at for at, token in enumerate(tokens) if token == 0][1:] == [len(tokens) - 1]
            assert labels[-1] == tokens[tokens.index(0) + 1]
            assert set(labels[:-1]) == {IGNORED}


@pytest.mark.parametrize("make", [mqar, copying, induction])
def test_the_seed_decides_the_examples(make):
    sizes = {"train": 30, "test": 30}
    first, again, other = make(**sizes), make(**sizes), make(**sizes, seed=1)
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert not torch.equal(first.train.inputs, other.train.inputs)
    test = next(iter(first.tests.values()))
    assert not torch.equal(first.train.inputs, test.inputs)


def evaluated(words):
    """Evaluate an expression with a stack; also return the depth of its deepest node."""
    functions = {"[MIN": min, "[MAX": max, "[MED": lambda items: int(np.median(items)), "[SM": lambda x: sum(x) % 10}
    stack, deepest = [(None, [])], 1
    for word in words:
        if word in functions:
            stack.append((functions[word], []))
        elif word == "]":
            function, items = stack.pop()
            assert 2 <= len(items) <= 10
            stack[-1][1].append(function(items))
        else:
            stack[-1][1].append(int(word))
            deepest = max(deepest, len(stack))
    assert len(stack) == 1
    (value,) = stack[0][1]
    return value, deepest


def test_an_expression_has_the_value_that_an_independent_evaluator_finds():
    symbols, offsets, values = expressions(400, 50, 300, seed=3)
    texts = [symbols[start:end] for start, end in pairwise(offsets)]
    found = [evaluated([SYMBOLS[symbol] for symbol in text]) for text in texts]
    assert [value for value, _ in found] == values.tolist()
    assert max(deepest for _, deepest in found) == 10
    assert all(50 < len(text) < 300 for text in texts)
    assert len({text.tobytes() for text in texts}) == 400
    assert set(symbols.tolist()) == set(range(1, 16))


def test_no_expression_comes_twice():
    # There are 400 of so short ones, four operators of two digits, so that they are drawn again and again.
    symbols, offsets, _ = expressions(390, 3, 5, seed=0)
    assert len({symbols[start:end].tobytes() for start, end in pairwise(offsets)}) == 390


def test_lengths_that_no_expression_has_are_refused():
    with pytest.raises(ValueError, match="more than 10 and less than 11"):
        expressions(1, 10, 11, seed=0)


def test_the_seed_decides_the_expressions():
    first, again, other = (expressions(50, 20, 80, seed)[0].tobytes() for seed in (4, 4, 5))
    assert first == again != other


def test_the_full_size_is_the_published_one():
    # What the table is marked as comparable by.
    assert FULL_SIZE == {"shortest": 500, "longest": 2000, "train": 96_000, "test": 2000}
    assert FULL_SIZE.keys() == BENCHMARKS["listops"].size.keys()


def test_short_expressions_are_as_frequent_as_in_the_published_generator():
    # An operator has two or three arguments equally often, and an argument is a digit three times in four.
    _, offsets, _ = forest(8000, 3, 6, np.random.default_rng(0))
    lengths = np.diff(offsets)
    assert (lengths == 4).sum() == pytest.approx(8000 / 9 * 0.75**2, rel=0.1)
    assert (lengths == 5).sum() == pytest.approx(8000 / 9 * 0.75**3, rel=0.1)


def test_listops_are_made_once_and_read_again(tmp_path, monkeypatch):
    sizes = {"shortest": 20, "longest": 80, "train": 50, "test": 10}
    first = listops(tmp_path / "new", **sizes)
    assert len(list((tmp_path / "new").iterdir())) == 1
    # The package's `listops` is the function and hides the module.
    monkeypatch.setitem(listops.__globals__, "expressions", None)
    again = listops(tmp_path / "new", **sizes)
    assert [len(examples) for examples in (first.train, *first.tests.values())] == [50, 10]
    assert (first.symbols, first.classes) == (16, 10)
    for made, kept in ((first.train, again.train), (first.tests["test"], again.tests["test"])):
        assert torch.equal(made.inputs, kept.inputs)
        assert torch.equal(made.labels, kept.labels)
        assert torch.equal(made.inputs != 0, made.weight().bool())
        for tokens, label in zip(made.inputs.tolist(), made.labels.tolist(), strict=True):
            assert evaluated([SYMBOLS[token] for token in tokens if token])[0] == label


def test_listops_take_a_byte_a_symbol_until_they_are_used(tmp_path):
    task = listops(tmp_path, shortest=20, longest=80, train=50, test=10)
    assert task.train.inputs.dtype == torch.uint8
    assert task.train.rows(torch.tensor([0])).inputs.dtype == torch.int64


@pytest.mark.data
def test_pixels_are_the_images_row_by_row(data):
    task = pixels(data)
    test = task.tests["test"]
    assert (task.train.inputs.shape, test.inputs.shape) == ((8000, 784, 1), (2000, 784, 1))
    assert (task.train.inputs.min(), task.train.inputs.max()) == (0, 1)
    # The first test image of MNIST is known to be a 7: its bar lies in the upper half, its left lower quarter is empty.
    assert task.train.labels[:5].tolist() == [7, 2, 1, 0, 4]
    seven = task.train.inputs[0].view(28, 28)
    assert seven[7:11, 6:22].mean() > 0.4
    assert seven[14:, :9].max() == 0
    # The last of all images are the digits in order.
    assert test.labels[-10:].tolist() == [7, 8, 9, 0, 1, 2, 3, 4, 5, 6]
    assert test.labels.bincount(minlength=10).min() > 100
    assert 0.05 < task.chance < 0.15


@pytest.mark.data
def test_speech_keeps_a_speaker_back_and_a_seconds_samples(data):
    task = speech(data)
    test = task.tests["test"]
    assert (task.train.inputs.shape, test.inputs.shape) == ((2500, 500, 16), (500, 500, 16))
    assert test.labels.bincount().tolist() == [50] * 10
    assert task.train.labels.bincount().tolist() == [250] * 10
    for examples in (task.train, test):
        heard = examples.weight()[..., None]
        assert (examples.inputs * (1 - heard)).abs().max() == 0
        assert int(examples.lengths.max()) <= 500
        # All are equally loud, but for zeros that fill the last token.
        loudness = (examples.inputs.square() * heard).sum((1, 2)) / (16 * examples.lengths)
        assert 0.9 < loudness.min() <= loudness.max() < 1.001


@pytest.mark.data
def test_speech_is_the_recording_sample_by_sample(data):
    with np.load(data / "fsdd/fsdd_8khz.npz") as kept:
        audio, offsets, names = kept["audio"], kept["offsets"], kept["names"].tolist()
    theo = [name for name in names if "_theo_" in name]
    test = speech(data, samples=10, tokens=100).tests["test"]
    row = theo.index("8_theo_3")
    at = names.index("8_theo_3")
    sound = audio[offsets[at] : offsets[at + 1]][:1000].astype(np.float64)
    read = test.inputs[row].flatten()[: len(sound)].double().numpy()
    assert test.labels[row] == 8
    assert int(test.lengths[row]) == -(-len(sound) // 10)
    np.testing.assert_allclose(read / read.max(), sound / sound.max(), atol=1e-6)
