"""Brokers that ask who is there: TLS with a plant's own certificates, SASL, and rights, on a real broker."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingestion.consumer import KafkaInput
from ingestion.errors import BrokerRefused, BrokerUnavailable, IngestionError
from ingestion.kafka_settings import KafkaSettings
from ingestion.producer import KafkaFeeder
from ingestion.records import Record
from tests.broker.kafka_broker import KafkaBroker, free_port
from tests.integration.conftest import create_topic, require_broker
from tests.integration.results import SOURCE
from tests.serving import COMMAND, Serving

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.filterwarnings("ignore:unclosed <(socket|ssl).*:ResourceWarning"),
]

USER, PASSWORD, STRANGER = "logvq", "plant s3cret", "stranger"
TOPIC = "secured"
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Secured:
    """A broker with a listener for SASL over TLS, and one for TLS with client certificates."""

    sasl: str
    mutual: str
    files: Path


def openssl(*arguments: object, cwd: Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, check=True, capture_output=True)


def make_certificates(directory: Path) -> None:
    """A plant's own authority, the broker's and a client's certificate, and an authority nobody trusts."""
    for authority in ("ca", "other-ca"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{authority}.key", "-out",
                f"{authority}.pem", "-days", "2", "-subj", f"/CN=plant {authority}", cwd=directory)  # fmt: skip
    for name in ("broker", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj",
                f"/CN={name}", cwd=directory)  # fmt: skip
        (directory / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.pem", "-days", "2", "-extfile", "extensions", cwd=directory)  # fmt: skip
    (directory / "keystore.pem").write_text(
        (directory / "broker.key").read_text() + (directory / "broker.pem").read_text()
    )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    require_broker()
    files = tmp_path_factory.mktemp("certificates")
    make_certificates(files)
    for user in (USER, STRANGER):
        (files / f"{user}.password").write_text(PASSWORD + "\n")
    (files / "wrong.password").write_text("wrong\n")
    plain, sasl, mutual = free_port(), free_port(), free_port()
    listeners = (
        f"PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{sasl},"
        f"SSL://127.0.0.1:{mutual},CONTROLLER://127.0.0.1:{plain + 1}"
    )
    jaas = "org.apache.kafka.common.security"
    properties = f"""
listeners={listeners}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
ssl.keystore.type=PEM
ssl.keystore.location={files}/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location={files}/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config={jaas}.plain.PlainLoginModule required \\
  user_{USER}="{PASSWORD}" user_{STRANGER}="{PASSWORD}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={jaas}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={jaas}.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{USER};User:CN=client
"""
    scram = [
        part
        for size in (256, 512)
        for part in ("--add-scram", f'SCRAM-SHA-{size}=[name="{USER}",password="{PASSWORD}"]')
    ]
    broker = KafkaBroker(tmp_path_factory.mktemp("secured"), plain, properties, scram)
    broker.start()
    try:
        create_topic(broker.bootstrap, TOPIC, 1)
        yield Secured(f"127.0.0.1:{sasl}", f"127.0.0.1:{mutual}", files)
    finally:
        broker.kill()


def sasl(secured: Secured, mechanism: str = "SCRAM-SHA-512", user: str = USER, **changes: object) -> KafkaSettings:
    return KafkaSettings(
        **{
            "bootstrap": secured.sasl,
            "topics": (TOPIC,),
            "group": f"group-{time.monotonic_ns()}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": mechanism,
            "sasl_username": user,
            "sasl_password_file": secured.files / f"{user}.password",
            "ca_file": secured.files / "ca.pem",
            "give_up_seconds": 4.0,
            **changes,
        }
    )


def read(settings: KafkaSettings, enough: int) -> list[Record]:
    got: list[Record] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    source = KafkaInput(settings, next_position=lambda _: None, on_revoked=lambda _: None, report=print)
    with closing(source):
        while len(got) < enough and time.monotonic() < deadline:
            got += source.poll(0.2)
    return got


def feed(settings: KafkaSettings, lines: list[bytes]) -> int:
    with closing(KafkaFeeder(settings, report=print)) as feeder:
        return feeder.feed(lines, topic=TOPIC, source="press07")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_lines_go_through_tls_and_sasl(secured: Secured, mechanism: str) -> None:
    settings = sasl(secured, mechanism)
    assert feed(settings, [b"one", b"two"]) == 2
    assert [record.value for record in read(settings, 2)][:2] == [b"one", b"two"]


def test_lines_go_through_tls_with_a_certificate_of_ones_own(secured: Secured) -> None:
    settings = KafkaSettings(
        bootstrap=secured.mutual,
        topics=(TOPIC,),
        group=f"group-{time.monotonic_ns()}",
        security_protocol="SSL",
        ca_file=secured.files / "ca.pem",
        certificate_file=secured.files / "client.pem",
        key_file=secured.files / "client.key",
        give_up_seconds=4.0,
    )
    assert feed(settings, [b"one", b"two"]) == 2
    assert len(read(settings, 2)) >= 2


def refusal(settings: KafkaSettings, error: type[IngestionError]) -> str:
    said = []
    for use in (lambda: read(settings, 1), lambda: feed(settings, [b"x"])):
        with pytest.raises(error) as raised:
            use()
        said.append(str(raised.value))
    assert all(settings.bootstrap in text for text in said)
    assert not any(PASSWORD in text for text in said)
    return said[0]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_not_let_in_and_the_password_file_is_named(secured: Secured, mechanism: str) -> None:
    wrong = sasl(secured, mechanism, sasl_password_file=secured.files / "wrong.password")
    # A broker may close the connection without a word, which a broker that starts does as well.
    assert "password file" in refusal(wrong, IngestionError)


def test_a_user_without_rights_is_refused_and_the_topic_named(secured: Secured) -> None:
    assert TOPIC in refusal(sasl(secured, "PLAIN", STRANGER), BrokerRefused)


def test_a_broker_with_an_unknown_certificate_is_not_trusted(secured: Secured) -> None:
    said = refusal(sasl(secured, ca_file=secured.files / "other-ca.pem"), BrokerRefused)
    assert "certificate" in said
    assert "ca_file" in said


def test_a_plain_client_on_a_secured_port_is_told_what_to_look_at(secured: Secured) -> None:
    plain = KafkaSettings(bootstrap=secured.sasl, topics=(TOPIC,), give_up_seconds=2.0)
    assert "security settings" in refusal(plain, BrokerUnavailable)


def test_the_command_line_reads_all_of_it_from_a_settings_file(
    secured: Secured, bundle_dir: Path, machine_lines: list[bytes], tmp_path: Path
) -> None:
    log = tmp_path / "machine.log"
    log.write_bytes(b"\n".join(machine_lines[:500]) + b"\n")
    for name in ("ca.pem", f"{USER}.password"):
        (tmp_path / name).write_bytes((secured.files / name).read_bytes())
    settings = tmp_path / "logvq.toml"
    settings.write_text(f"""
[kafka]
bootstrap = "{secured.sasl}"
security_protocol = "SASL_SSL"
sasl_mechanism = "SCRAM-SHA-256"
sasl_username = "{USER}"
sasl_password_file = "{USER}.password"
ca_file = "ca.pem"
group = "from-a-file"
""")
    command = ["feed", str(log), "--kafka-settings", str(settings), "--topic", "filed", "--create-topic"]
    fed = subprocess.run([*COMMAND, *command, "--source", SOURCE], capture_output=True, text=True, check=False)
    assert fed.returncode == 0, fed.stderr
    arguments = ("--kafka-settings", str(settings), "--topic", "filed")
    with Serving(bundle_dir, tmp_path, *arguments) as service:
        service.wait_consumed(SOURCE, 500)
        with suppress(subprocess.TimeoutExpired):
            service.stop()
    assert PASSWORD not in service.log.read_text()
