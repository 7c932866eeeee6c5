"""Raw bytes to tokens: the first half of the house. Knows neither torch nor the web.

In: log files, Kafka topics, pushed lines. Out: events, each with its time, its text and its token, cut into windows.

In the order the data flows:

- `records.py`     one line as an input delivers it, and what every input can do
- `files.py`       log files, read whole or followed
- `consumer.py`    Kafka topics, read; `producer.py` written; `kafka_client.py` opened: only these use kafka-python, and
                   are imported where they are needed. `kafka_settings.py` says how to reach a broker, `kafka_values.py`
                   what its records mean, `kafka_dead_letters.py` sends what could not be read; `outage.py` how long
                   to wait for something that is away
- `decoding.py`    bytes to text under a declared encoding
- `timestamps.py`  event times in the source's own zone
- `format.py`      how one source writes its lines, declared or proposed from a sample
- `masking.py`     a message to masked words; Japanese gets its word boundaries here
- `templates.py`   learning templates from good lines; the only file that uses Drain3
- `vocabulary.py`  the frozen templates, and the pure function from a line to its token
- `parsing.py`     one source's records to events, every line accounted for
- `windowing.py`   events to windows
- `errors.py`      what goes wrong, each with its slug
"""

from ingestion.errors import (
    BadFormat,
    BadInput,
    BadVocabulary,
    BrokerUnavailable,
    DeadLettersUndelivered,
    IngestionError,
    WrongEncoding,
)
from ingestion.files import FileInput, file_size, file_year, open_log, read_records, read_sample
from ingestion.format import SourceFormat, propose_format
from ingestion.masking import clean, variable_spans, words
from ingestion.outage import Outage
from ingestion.parsing import Accounting, Dropped, Event, SourceParser, event_shape
from ingestion.records import Input, Record
from ingestion.templates import extend_vocabulary, learn_vocabulary
from ingestion.vocabulary import FIRST_TEMPLATE, UNSEEN, Template, Vocabulary
from ingestion.windowing import Windower, WindowSpec

__all__ = [
    "FIRST_TEMPLATE",
    "UNSEEN",
    "Accounting",
    "BadFormat",
    "BadInput",
    "BadVocabulary",
    "BrokerUnavailable",
    "DeadLettersUndelivered",
    "Dropped",
    "Event",
    "FileInput",
    "IngestionError",
    "Input",
    "Outage",
    "Record",
    "SourceFormat",
    "SourceParser",
    "Template",
    "Vocabulary",
    "WindowSpec",
    "Windower",
    "WrongEncoding",
    "clean",
    "event_shape",
    "extend_vocabulary",
    "file_size",
    "file_year",
    "learn_vocabulary",
    "open_log",
    "propose_format",
    "read_records",
    "read_sample",
    "variable_spans",
    "words",
]
