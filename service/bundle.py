"""A bundle: everything that turns a source's lines into scores, in one directory of plain files.

    manifest.json       versions, hashes, how lines are written, how windows are cut, what it was trained on, and how
                        many windows it was calibrated on
    templates.json      the frozen vocabulary
    model.safetensors   the encoder's weights and statistics; model.json its shape
    detector.*          what known-good windows are like: arrays in safetensors, the rest in JSON
    examples.json       known-good windows and lines to show beside what is unlike them
    warm.safetensors    the encoder's state after the known-good lines, where every new source begins

Its id is a hash of these files: equal bundles have equal ids and give equal scores.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion import IngestionError, SourceFormat, Vocabulary, WindowSpec
from model import ModelError, NoSuchDevice, Scorer, SourceState, TrainedModel, load_model, save_model
from service import __version__
from service.calibration import Calibration
from service.detection.detector import Detector
from service.detection.saving import load_detector, save_detector
from service.errors import BadBundle, CannotWrite
from service.examples import Examples

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOG = logging.getLogger("logvq.bundle")
FORMAT_VERSION = 6
_EXAMPLES = "examples.json"


@dataclass(frozen=True)
class Training:
    """What a bundle was trained on, and how that went.

    Attributes:
        file: name of the good file.
        lines: known-good lines read.
        events: events the model was fitted on.
        held_out_nats: mean surprisal of known-good events it was not fitted on.
        perplexity: of the codes hit, mean over heads.
        parameters: weights of the encoder.
        set_aside: windows that were not learnt from because they look wrong, strangest first.
    """

    file: str
    lines: int
    events: int
    held_out_nats: float
    perplexity: float
    parameters: int
    set_aside: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Bundle:
    """Everything that turns a source's lines into scores."""

    source_format: SourceFormat
    window: WindowSpec
    vocabulary: Vocabulary
    model: TrainedModel
    detector: Detector
    calibration: Calibration
    warm: SourceState
    training: Training
    examples: Examples
    id: str = ""

    def scorer(self) -> Scorer:
        """Return a scorer of this bundle's model."""
        return Scorer(self.model)

    def warm_state(self) -> SourceState:
        """Return a fresh copy of the state every new source begins with."""
        return self.warm.copy()


def save_bundle(bundle: Bundle, directory: Path) -> Bundle:
    """Write a bundle; the directory appears only when it is complete.

    Returns:
        The bundle with its id.

    Raises:
        CannotWrite: the directory cannot be written, or holds something else.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CannotWrite(f"{directory} exists and is not empty; name a new directory for the bundle")
    partial = directory.with_name(f".{directory.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        bundle.vocabulary.save(partial / "templates.json")
        save_model(partial, bundle.model)
        save_detector(partial, bundle.detector)
        bundle.examples.save(partial / _EXAMPLES)
        (partial / "warm.safetensors").write_bytes(bundle.warm.to_bytes())
        hashes = _hashes(partial)
        described = {
            "format": bundle.source_format.to_dict(),
            "window": asdict(bundle.window),
            "training": asdict(bundle.training),
            "calibration": asdict(bundle.calibration),
            "files": hashes,
        }
        bundle_id = _bundle_id(described)
        manifest = {"version": FORMAT_VERSION, "logvq": __version__, "id": bundle_id, **described}
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), "utf-8")
        if directory.exists():
            directory.rmdir()
        partial.rename(directory)
    except OSError as error:
        raise CannotWrite(f"cannot write the bundle {directory}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load_bundle(directory)


def load_bundle(directory: Path, device: str = "cpu") -> Bundle:
    """Read a bundle and check it against its manifest; its model runs on `device`, `cpu` or `cuda`.

    Masks that make its lines slow to read are named in the program's log.

    Raises:
        NoSuchDevice: there is no such device here.
        BadBundle: something is missing, changed since it was written, or of another version.
    """
    path = directory / "manifest.json"
    try:
        manifest: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadBundle(f"{directory} is not a bundle: it has no manifest.json; make one with `logvq train`") from error
    except (OSError, ValueError) as error:
        raise BadBundle(f"cannot read {path}: {error}") from error
    if manifest.get("version") != FORMAT_VERSION:
        raise BadBundle(f"{directory} is of version {manifest.get('version')}; this program reads {FORMAT_VERSION}")
    try:
        if _hashes(directory) != manifest["files"]:
            raise BadBundle(f"{directory} was changed after it was written; train it again or restore it from a copy")
        model = load_model(directory, device)
        source_format = SourceFormat.from_dict(manifest["format"])
        if slow := source_format.mask_set().digit_sensitive:
            _LOG.warning(
                # On three public logs a fifth of the whole parser's speed.
                "%s: lines are looked up a slower way, for the mask%s %s tell%s one digit from another; where any "
                r"digit will do, write \d for it",
                directory,
                *("", ", ".join(slow), "s") if len(slow) == 1 else ("s", ", ".join(slow), ""),
            )
        return Bundle(
            source_format=source_format,
            window=WindowSpec(**manifest["window"]),
            vocabulary=Vocabulary.load(directory / "templates.json"),
            model=model,
            detector=load_detector(directory),
            calibration=Calibration(**manifest["calibration"]),
            warm=SourceState.from_bytes((directory / "warm.safetensors").read_bytes(), model),
            training=Training(**manifest["training"]),
            examples=Examples.load(directory / _EXAMPLES),
            id=manifest["id"],
        )
    except NoSuchDevice:
        raise
    except (IngestionError, ModelError, OSError, ValueError, KeyError, TypeError) as error:
        raise BadBundle(f"cannot read the bundle {directory}: {error}") from error


def _hashes(directory: Path) -> dict[str, str]:
    files: Iterable[Path] = sorted(path for path in directory.iterdir() if path.name != "manifest.json")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _bundle_id(described: Mapping[str, Any]) -> str:
    return "b-" + hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
