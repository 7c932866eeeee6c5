"""Raw bytes to tokens: the first half of the house. Knows neither torch nor the web.

In: log files, Kafka topics, pushed lines. Out: events, each with its time, its text and its token, cut into windows.

In the order the data flows:

- `records.py`     one line as an input delivers it, and what every input can do
- `lines.py`       bytes to lines
- `files.py`       log files, read whole; `following.py` as they grow, `rotation.py` what became of those before;
                   `standard_input.py` lines that another program pipes in
- `consumer.py`    Kafka topics, read; `producer.py` written; `kafka_range.py` a range of them, once; `kafka_client.py`
                   opened: only these use kafka-python, and are imported where they are needed. `kafka_settings.py`
                   says how to reach a broker, `kafka_values.py` what its records mean, `kafka_dead_letters.py` sends
                   what could not be read; `outage.py` how long to wait for something that is away
- `decoding.py`    bytes to text under a declared encoding; `eucjp.py` is one that Python lacks
- `envelopes.py`   what a line carries its message in: JSON, syslog, rows, SHDR; `schema.py` sees their fields change
- `patterns.py`    regular expressions that users declare
- `timestamps.py`  event times in the source's own zone
- `framing.py`     which lines make one event
- `format.py`      how one source writes its lines, as a table; `tables.py` reads such tables, `proposing.py` fills one
                   from a sample, `guessing.py` its encoding, `dating.py` its zone, `years.py` the year that its
                   times do not write; `looking.py` says what a sample tells, `inspecting.py` what the format does
- `masking.py`     a message to masked words; Japanese gets its word boundaries here
- `decimals.py`    what a number in a line is, with a point or a comma before its decimals
- `templates.py`   learning templates from good lines; the only file that uses Drain3
- `vocabulary.py`  the frozen templates, and the pure function from a line to its token
- `varying.py`     where in a line stands what its template leaves open
- `matching.py`    the quick way to the same token, which serving takes
- `splitting.py`   the lines that a record packs, and the sources they name
- `parsing.py`     one source's records to events, every line accounted for
- `watermark.py`   how far a source's clock has come, and which events are late
- `windowing.py`   events to windows
- `errors.py`      what goes wrong, each with its slug
"""

from ingestion.decimals import number_of
from ingestion.decoding import split_lines
from ingestion.errors import (
    DROP_REASONS,
    EMPTY_REASONS,
    BadFormat,
    BadInput,
    BadVocabulary,
    BrokerUnavailable,
    DeadLettersUndelivered,
    IngestionError,
    WrongEncoding,
)
from ingestion.files import file_size, read_records, read_sample
from ingestion.following import FileInput
from ingestion.format import SourceFormat
from ingestion.masking import MaskedWord, Masks, clean, masked_words, words
from ingestion.matching import Matcher
from ingestion.outage import Outage
from ingestion.parsing import Accounting, Dropped, Event, SourceParser, event_shape
from ingestion.proposing import propose_format
from ingestion.records import Input, Record
from ingestion.rotation import ReadFile, open_log
from ingestion.splitting import lines_apart, split_sources
from ingestion.standard_input import StandardInput
from ingestion.templates import extend_vocabulary, learn_vocabulary, name_unseen
from ingestion.varying import message_place, variable_spans
from ingestion.vocabulary import FIRST_TEMPLATE, PADDING, UNSEEN, Parameter, Template, Vocabulary
from ingestion.windowing import OpenWindow, Windower, WindowSpec
from ingestion.years import file_year

__all__ = [
    "DROP_REASONS",
    "EMPTY_REASONS",
    "FIRST_TEMPLATE",
    "PADDING",
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
    "MaskedWord",
    "Masks",
    "Matcher",
    "OpenWindow",
    "Outage",
    "Parameter",
    "ReadFile",
    "Record",
    "SourceFormat",
    "SourceParser",
    "StandardInput",
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
    "lines_apart",
    "masked_words",
    "message_place",
    "name_unseen",
    "number_of",
    "open_log",
    "propose_format",
    "read_records",
    "read_sample",
    "split_lines",
    "split_sources",
    "variable_spans",
    "words",
]
