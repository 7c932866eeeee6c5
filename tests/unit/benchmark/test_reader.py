"""An encoder that answers sequence tasks learns the same with and without a stop."""

import pytest
import torch

from tests.benchmark.reader import Reader, Settings, Training, accuracy
from tests.benchmark.tasks import Examples, Task, induction

SETTINGS = Settings(
    width=16, head_width=8, codes=8, block=8, horizon=64, dropout=0.1, steps=10, batch=4, learning_rate=1e-2
)


def trained(mixer, checkpoint, stop):
    task = induction(length=20, stretch=1, train=50, test=10)
    torch.manual_seed(0)
    training = Training(Reader(SETTINGS.config(mixer), task), task.train, SETTINGS, 0, checkpoint)
    if stop:
        for _ in range(stop):
            training.step()
        training.save()
        torch.manual_seed(1)
        training = Training(Reader(SETTINGS.config(mixer), task), task.train, SETTINGS, 0, checkpoint)
    done = training.run(lambda _: None)
    return done, training.reader.state_dict()


@pytest.mark.parametrize("mixer", ["centroid", "full", "lstm"])
@pytest.mark.parametrize("stop", [1, 7])
def test_a_stopped_training_ends_where_it_would_have(tmp_path, mixer, stop):
    whole, weights = trained(mixer, tmp_path / "a.pt", 0)
    parts, again = trained(mixer, tmp_path / "b.pt", stop)
    assert (whole.step, whole.loss, whole.tokens) == (parts.step, parts.loss, parts.tokens)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.parametrize(("keys_first", "by_events"), [(0.0, 0), (0.5, 6)])
def test_keys_are_learnt_before_codes_for_their_share_of_the_steps(tmp_path, keys_first, by_events):
    task = induction(length=20, stretch=1, train=50, test=10)
    reader = Reader(SETTINGS.config("centroid"), task)
    training, exact = Training(reader, task.train, SETTINGS, 0, tmp_path / "a.pt", keys_first), []
    for _ in range(SETTINGS.steps):
        training.step()
        exact.append(reader.stack.exact)
    assert exact == [step < by_events for step in range(SETTINGS.steps)]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_products_are_in_bfloat16_on_a_gpu_alone(tmp_path, monkeypatch, device):
    asked = []
    monkeypatch.setattr(Reader, "device", torch.device(device))
    monkeypatch.setattr(Examples, "to", lambda examples, _device: examples)
    monkeypatch.setattr(torch, "autocast", autocast_of(asked, torch.autocast))
    task = induction(length=20, stretch=1, train=50, test=10)
    Training(Reader(SETTINGS.config("full"), task), task.train, SETTINGS, 0, tmp_path / "a.pt").step()
    assert asked[0] == (device, torch.bfloat16, device == "cuda")


def autocast_of(asked, autocast):
    def noted(device, dtype=None, enabled=True):
        asked.append((device, dtype, enabled))
        return autocast("cpu", enabled=False)

    return noted


def test_padding_changes_no_answer():
    lengths = torch.tensor([11, 16, 3])
    inputs, labels = torch.randn(3, 16, 2), torch.tensor([1, 2, 0])
    inputs[torch.arange(16) >= lengths[:, None]] = 0
    examples = Examples(inputs, labels, lengths)
    reader = Reader(SETTINGS.config("centroid"), Task(examples, {"test": examples}, 0, 3)).eval()
    together, _ = reader(examples)
    alone = torch.cat([reader(examples.rows(torch.tensor([row])))[0] for row in range(3)])
    torch.testing.assert_close(together, alone)
    answers = alone.argmax(-1)
    assert accuracy(reader, Examples(inputs, answers, lengths), batch=2) == 1
