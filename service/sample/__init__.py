"""The bundled sample: two months of events of a real machining centre.

`mazak01.log.gz` holds the first 60,000 event and condition lines (MTConnect SHDR, `time|key|value…`) that the Mazak
machine 01 of the Smart Manufacturing Systems Test Bed wrote from October 2016 on. Data: National Institute of Standards
and Technology (NIST), U.S. Department of Commerce; public information of the United States government, reproduced with
acknowledgement. Repeated values are left out; nothing else was changed.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from ingestion import read_records
from service.training import GoodLines
from service.whole_files import good_lines

SAMPLE_FILE = Path(__file__).with_name("mazak01.log.gz")
SAMPLE_SOURCE = "mazak01"
# The known-good part ends in mid-December, between two working days.
GOOD_LINES = 40_000


def good_sample() -> GoodLines:
    """Return the sample's known-good part."""
    whole = good_lines(SAMPLE_FILE, "utf-8", "UTC", None)
    return GoodLines(whole.name, itertools.islice(whole.records, GOOD_LINES), whole.source_format)


def later_lines() -> list[bytes]:
    """Return the lines after the known-good part."""
    records = read_records(SAMPLE_FILE, SAMPLE_SOURCE, "utf-8")
    return [record.value for record in itertools.islice(records, GOOD_LINES, None)]
