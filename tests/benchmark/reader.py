"""An encoder that answers a sequence task, and its training on a fixed budget, which goes on where it was stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from model import EncoderConfig
from model.config import Mixer
from model.optimizer import CLIP, adamw, rate
from model.stack import Stack, StackOutput
from tests.benchmark.tasks import IGNORED, Examples, Task

# Longer than the product's, because training is shorter.
_WARM_UP_SHARE = 0.08
# As in the recipe of MEGA (Ma et al., ICLR 2023) for ListOps.
_WEIGHT_DECAY = 0.01
_SAVE_SECONDS = 60.0
_TELL_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The shape of every encoder compared, and what each may spend. See `EncoderConfig` for the shape.

    Attributes:
        steps: of the optimizer.
        batch: sequences a step.
        learning_rate: peak.
    """

    width: int = 64
    layers: int = 2
    heads: int = 2
    head_width: int = 32
    codes: int = 64
    block: int = 16
    horizon: int = 8192
    dropout: float = 0.0
    steps: int = 800
    batch: int = 64
    learning_rate: float = 3e-3

    def config(self, mixer: Mixer) -> EncoderConfig:
        """Return the shape with a mixer; the vocabulary is the embedding's, which `Reader` brings itself."""
        return EncoderConfig(
            vocab_size=2,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            head_width=self.head_width,
            codes=self.codes,
            block=self.block,
            horizon=self.horizon,
            mixer=mixer,
            dropout=self.dropout,
        )


class Reader(nn.Module):
    """Embedding, blocks, norm and head.

    Args:
        config: shape of the blocks.
        task: its inputs decide the embedding, its classes the head.
    """

    def __init__(self, config: EncoderConfig, task: Task) -> None:
        super().__init__()
        width = config.width
        features = task.train.inputs.shape[-1]
        self.embed = nn.Embedding(task.symbols, width) if task.symbols else nn.Linear(features, width)
        self.stack = Stack(config)
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, task.classes)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.head.weight.device

    def forward(self, examples: Examples) -> tuple[Tensor, StackOutput]:
        """Answer what is asked, at its position or of the mean over a sequence; logits are (answers, classes)."""
        output: StackOutput = self.stack(self.embed(examples.inputs))
        if examples.labels.dim() == 2:
            asked = output.y[examples.labels != IGNORED]
        else:
            asked = (output.y * examples.weight()[..., None]).sum(1) / examples.lengths[:, None]
        return self.head(self.norm(asked)), output


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        step: steps done.
        loss: nats an answer, running mean.
        seconds: spent on steps.
        tokens: read, padding not counted.
    """

    step: int = 0
    loss: float = math.nan
    seconds: float = 0.0
    tokens: int = 0


class Training:
    """One training. Rows are drawn with replacement.

    Args:
        reader: what to train.
        examples: to learn from.
        settings: how long and how fast.
        seed: decides the rows and the codebooks.
        checkpoint: file to save to about every minute, and to go on from.
        keys_first: see `TrainingOptions`; of `centroid` alone.
    """

    def __init__(
        self,
        reader: Reader,
        examples: Examples,
        settings: Settings,
        seed: int,
        checkpoint: Path,
        keys_first: float = 0.0,
    ) -> None:
        self.keys_first = keys_first
        self.reader, self.examples, self.settings, self.checkpoint = reader, examples, settings, checkpoint
        self.generator = Generator().manual_seed(seed)
        self.optimizer = adamw(reader, settings.learning_rate, _WEIGHT_DECAY, embeddings=("embed",))
        self.progress = Progress()
        reader.train()
        if checkpoint.exists():
            self._restore()

    def run(self, tell: Callable[[Progress], None]) -> Progress:
        """Do the steps that are left, telling about them every few seconds."""
        told = saved = perf_counter()
        while self.progress.step < self.settings.steps:
            self.step()
            now = perf_counter()
            if now - told > _TELL_SECONDS:
                tell(self.progress)
                told = now
            if now - saved > _SAVE_SECONDS:
                self.save()
                saved = now
        return self.progress

    def step(self) -> None:
        """Do a step."""
        started, before = perf_counter(), self.progress
        step, steps = before.step, self.settings.steps
        rows = torch.randint(len(self.examples), (self.settings.batch,), generator=self.generator)
        batch = self.examples.rows(rows).to(self.reader.device)
        weight = batch.weight()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rate(step, steps, _WARM_UP_SHARE)
        place = self.reader.stack.prepare(step, steps, self.keys_first)
        # As the model's own training.
        device = self.reader.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits, output = self.reader(batch)
        loss = cross_entropy(logits.float(), batch.labels[batch.labels != IGNORED])
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss + self.reader.stack.commitment(output.layers, weight))
        nn.utils.clip_grad_norm_(self.reader.parameters(), CLIP)
        self.optimizer.step()
        self.reader.stack.update_codebooks(output.layers, weight, self.generator, place=place)
        nats = float(loss.detach())
        running = nats if step == 0 else 0.95 * before.loss + 0.05 * nats
        seconds = before.seconds + perf_counter() - started
        self.progress = Progress(step + 1, running, seconds, before.tokens + int(batch.lengths.sum()))

    def save(self) -> None:
        """Write all that the next step depends on; a GPU's dropout begins anew."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "reader": self.reader.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rows": self.generator.get_state(),
            "dropout": torch.get_rng_state(),
            "progress": vars(self.progress),
        }
        torch.save(state, partial)
        partial.rename(self.checkpoint)

    def _restore(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.reader.load_state_dict(state["reader"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["rows"])
        torch.set_rng_state(state["dropout"])
        self.progress = Progress(**state["progress"])


@torch.no_grad()
def accuracy(reader: Reader, examples: Examples, batch: int) -> float:
    """Return the share of questions answered right."""
    reader.eval()
    right = 0
    for rows in torch.split(torch.arange(len(examples)), batch):
        part = examples.rows(rows).to(reader.device)
        logits, _ = reader(part)
        right += int((logits.argmax(-1) == part.labels[part.labels != IGNORED]).sum())
    return right / int((examples.labels != IGNORED).sum())
