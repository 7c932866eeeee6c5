"""Sequence tasks that other encoders are measured on, as tensors, the same under the same seed.

- `recall.py`   multi-query associative recall, selective copying, induction heads
- `listops.py`  ListOps of the Long Range Arena
- `pixels.py`   handwritten digits, a pixel a token
- `speech.py`   spoken digits, raw samples, a speaker held out
"""

from tests.benchmark.tasks.examples import IGNORED, Examples, Task
from tests.benchmark.tasks.listops import listops
from tests.benchmark.tasks.pixels import pixels
from tests.benchmark.tasks.recall import copying, induction, mqar
from tests.benchmark.tasks.speech import speech

__all__ = ["IGNORED", "Examples", "Task", "copying", "induction", "listops", "mqar", "pixels", "speech"]
