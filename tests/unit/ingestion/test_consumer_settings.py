from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.errors import BadKafkaSettings, BrokerUnavailable
from ingestion.kafka_settings import BrokerSettings, KafkaSettings
from ingestion.kafka_values import MAX_SOURCE_CHARS, source_of, split_value
from ingestion.outage import Outage

SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "u"}


def settings(**changes: object) -> KafkaSettings:
    return KafkaSettings(**{"bootstrap": "broker:9093", "topics": ("lines",), **changes})


def test_plain_settings_need_only_broker_and_topics():
    assert settings().addresses() == [("broker", 9093)]
    assert settings().password() is None


def test_several_addresses_default_port_and_ipv6_are_read():
    assert settings(bootstrap="a, b:1 ,[::1]:9094,[fe80::1]").addresses() == [
        ("a", 9092), ("b", 1), ("::1", 9094), ("fe80::1", 9092),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bootstrap": " "}, "bootstrap"),
        ({"bootstrap": "host:port"}, "bootstrap"),
        ({"bootstrap": "host:70000"}, "bootstrap"),
        ({"bootstrap": "kafka://host:9092"}, "bootstrap"),
        ({"topics": ()}, "topics"),
        ({"topics": "lines"}, "topics"),
        ({"topics": ("a b",)}, "topic name"),
        ({"topics": ("..",)}, "topic name"),
        ({"topics": ("a", "a")}, "twice"),
        ({"group": ""}, "group"),
        ({"session_timeout_seconds": float("nan")}, "session_timeout_seconds"),
        ({"give_up_seconds": -1}, "give_up_seconds"),
        ({"security_protocol": "TLS"}, "security_protocol"),
        ({"ca_file": Path("ca.pem")}, "ca_file"),
        ({"sasl_username": "u"}, "sasl_"),
        (SASL, "sasl_password_file"),
        ({**SASL, "sasl_mechanism": "GSSAPI"}, "sasl_mechanism"),
        ({**SASL, "sasl_username": ""}, "sasl_username"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, named):
    with pytest.raises(BadKafkaSettings, match=named):
        settings(**changes)


def test_the_password_comes_from_its_file_and_shows_nowhere(tmp_path):
    file = tmp_path / "password"
    file.write_text("s3cret päss \n")
    found = settings(**SASL, sasl_password_file=file)
    assert found.password() == "s3cret päss "
    assert "s3cret" not in repr(found)


def test_a_password_file_without_a_password_is_an_error(tmp_path):
    found = BrokerSettings(bootstrap="b", **SASL, sasl_password_file=tmp_path / "none")
    with pytest.raises(BadKafkaSettings, match="cannot be read"):
        found.password()
    (tmp_path / "none").write_text("\n")
    with pytest.raises(BadKafkaSettings, match="empty"):
        found.password()


@pytest.mark.parametrize(
    ("key", "source"),
    [
        (b"press07", "press07"),
        (" プレス7\n".encode(), "プレス7\ufffd"),
        (None, "lines"),
        (b"", "lines"),
        (b"  ", "lines"),
        (b"a\x00b\x1b[2J", "a\ufffdb\ufffd[2J"),
        ("a\u202eb\u2028".encode(), "a\ufffdb\ufffd"),
        (b"\x83v\x83\x8c", "\ufffdv\ufffd\ufffd"),
        ("機".encode() * 500, "機" * MAX_SOURCE_CHARS),
    ],
)
def test_a_key_becomes_a_printable_source(key, source):
    assert source_of(key, "lines") == source


@given(st.binary())
def test_any_key_gives_a_source_fit_for_a_page(key):
    source = source_of(key, "lines")
    assert 0 < len(source) <= MAX_SOURCE_CHARS
    assert source == source.strip()
    assert source.replace(" ", "").isprintable() or not source.isascii()
    source.encode("utf-8")


@given(
    st.lists(st.binary().map(lambda line: line.replace(b"\n", b"").rstrip(b"\r")), min_size=1),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_packed_lines_come_apart_as_they_were(lines, ending):
    packed = b"".join(line + ending for line in lines)
    assert split_value(packed) == lines


def test_every_value_gives_at_least_one_line():
    assert split_value(None) == split_value(b"") == split_value(b"\n") == [b""]
    assert split_value(b"a\n\nb") == [b"a", b"", b"b"]


def test_an_outage_is_reported_ever_more_rarely_and_given_up():
    now, said = [100.0], []
    outage = Outage(said.append, 40.0, clock=lambda: now[0])
    waits = []
    for _ in range(6):
        outage.failed("away", BrokerUnavailable)
        waits.append(outage.seconds_to_next_try())
        now[0] += waits[-1]
    with pytest.raises(BrokerUnavailable, match="away; gave up after 40 s"):
        outage.failed("away", BrokerUnavailable)
    assert waits == [1, 2, 4, 8, 15, 10]
    assert said[0] == "away; trying again in 1 s"


def test_an_outage_that_ended_says_so_once_and_starts_anew():
    now, said = [0.0], []
    outage = Outage(said.append, None, clock=lambda: now[0])
    for _ in range(3):
        outage.failed("away", BrokerUnavailable)
        now[0] += outage.seconds_to_next_try()
    outage.ended("back")
    outage.ended("back")
    outage.failed("away", BrokerUnavailable)
    assert said[3:] == ["back after 7 s", "away; trying again in 1 s"]
