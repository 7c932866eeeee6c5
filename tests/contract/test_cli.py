"""The command line: bad input gets a clear message and exit code 2, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from service.sample import later_lines
from tests.serving import COMMAND, free_port


def logvq(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "press07.log"
    path.write_bytes(b"\n".join(later_lines()[:3000]) + b"\n")
    return path


def test_no_such_file(tmp_path: Path) -> None:
    refused(logvq("try", "missing.log", cwd=tmp_path), "no such file", "missing.log")


def test_a_directory(tmp_path: Path) -> None:
    refused(logvq("try", tmp_path, cwd=tmp_path), "is a directory")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("empty",)),
        (b"\n\n\n", ("empty",)),
        (bytes(range(256)) * 40, ("binary data", "bad.log")),
        (b"PK\x03\x04rest of an archive", ("ZIP",)),
        ("2026-01-01 00:00:00 プレス温度異常\n".encode("cp932") * 50, ("line 1", "83 76", "--encoding cp932")),
        (b"2026-01-01 00:00:00 a single line\n", ("has 1 line.", "at least 1,536", "--good")),
        (b"2026-01-01 00:00:00 one of few\n" * 200, ("has 200 lines.", "at least 1,536", "--good")),
    ],
    ids=["empty", "blank", "binary", "zip", "encoding", "single line", "too few lines"],
)
def test_unusable_content(tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    (tmp_path / "bad.log").write_bytes(content)
    refused(logvq("try", "bad.log", cwd=tmp_path), *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.log"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tz", "Mars/Base"), ("Mars/Base", "Asia/Tokyo")),
        (("--window", "soon"), ("soon", "30m")),
        (("--budget", "0"), ("budget", "above 0")),
        (("--encoding", "klingon"), ("klingon", "cp932")),
        (("-o", "no/such/dir/report.html"), ("no directory", "-o")),
        (("-o", "."), ("is a directory", "-o")),
    ],
)
def test_unusable_options_of_try(log: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(logvq("try", log, *arguments, cwd=tmp_path), *words)


def test_no_disk_space_for_the_report(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, errno\n"
        "from service import trying\n"
        "trying.render_report = lambda data: '<html>'\n"
        "def full(self, *a, **k): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "pathlib.Path.write_text = full\n"
        "from service.errors import CannotWrite\n"
        "try: trying.write_report({}, pathlib.Path('report.html'))\n"
        "except CannotWrite as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert "report.html" in done.stdout
    assert "No space left" in done.stdout
    assert not list(tmp_path.iterdir())


def test_port_taken(bundle_dir: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = logvq("serve", "--all", "--bundle", bundle_dir, "--port", port, cwd=tmp_path)
    refused(done, str(port), "--port")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kafka", "127.0.0.1:1"), ("--topic",)),
        (("--host", "0.0.0.0"), ("--token-file", "--no-auth")),
        (("--token-file", "missing"), ("missing",)),
        (("--port", "99999"), ("99999", "0 to 65535")),
        (("--backfill",), ("--backfill", "--file FILE")),
        (("--backfill", "--file", "-"), ("--backfill", "--file FILE")),
    ],
)
def test_unusable_options_of_serve(
    bundle_dir: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = logvq("serve", "--all", "--bundle", bundle_dir, "--port", free_port(), *arguments, cwd=tmp_path)
    refused(done, *words)


def test_a_bundle_that_is_none_or_was_changed(bundle_dir: Path, tmp_path: Path) -> None:
    refused(logvq("serve", "--all", "--bundle", tmp_path, "--port", free_port(), cwd=tmp_path), "logvq train")
    copy = tmp_path / "copy.bundle"
    shutil.copytree(bundle_dir, copy)
    templates = copy / "templates.json"
    templates.write_text(templates.read_text().replace("execution", "exclusion"))
    refused(logvq("serve", "--all", "--bundle", copy, "--port", free_port(), cwd=tmp_path), "changed")


def test_training_into_a_directory_in_use(log: Path, tmp_path: Path) -> None:
    refused(logvq("train", log, "--out", tmp_path, cwd=tmp_path), "not empty", "--out")


def test_an_unreachable_broker_is_said_and_given_up_when_told(bundle_dir: Path, tmp_path: Path) -> None:
    closed = free_port()
    done = logvq(
        "serve", "--all", "--bundle", bundle_dir, "--port", free_port(),
        "--kafka", f"127.0.0.1:{closed}", "--topic", "lines", "--give-up", "1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"127.0.0.1:{closed} unreachable" in done.stderr
    assert "trying again" in done.stderr


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    log = tmp_path / "press07.log"
    log.write_bytes(b"\n".join(later_lines()) + b"\n")
    said = tmp_path / "stderr"
    # A shell without job control lets what it runs in the background ignore Ctrl-C, tests and their children too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with said.open("w") as stderr:
        running = subprocess.Popen(
            [*COMMAND, "try", str(log), "--bundle", "kept.bundle"], cwd=tmp_path, stderr=stderr, text=True
        )
        signal.signal(signal.SIGINT, before)
        # Not while torch is being loaded: there an import may swallow the signal.
        loaded = Path(f"/proc/{running.pid}/maps")
        deadline = time.monotonic() + 60
        while "libtorch_cpu" not in loaded.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(4)
        # Other libraries are loaded after torch, and a person presses the keys again.
        while running.poll() is None and time.monotonic() < deadline:
            running.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                running.wait(timeout=5)
        assert running.wait(timeout=30) == 130
    assert "Traceback" not in said.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["press07.log", "stderr"]


def test_try_reports_on_a_japanese_log(tmp_path: Path) -> None:
    lines = []
    for number in range(1600):
        hour, minute, second = number // 60 // 60, number // 60 % 60, number % 60
        what = ("主軸起動", "加工開始", f"温度{20 + number % 7}℃", "加工完了")[number % 4]
        lines.append(f"2026/01/05 {hour:02}:{minute:02}:{second:02} プレス{number % 3:02}号機{what}")
    lines[1210] = "2026/01/05 00:20:10 非常停止ボタンが押されました"
    (tmp_path / "press.log").write_bytes("\r\n".join(lines).encode("cp932"))
    done = logvq("try", "press.log", "--encoding", "cp932", "--tz", "Asia/Tokyo", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "report.html").read_text("utf-8")
    assert "非常停止ボタンが押されました" in done.stdout
    assert "非常停止ボタンが押されました" in report
    assert '"unparsed": 1' in done.stdout


def test_help_answers_without_the_model() -> None:
    script = (
        "import sys\nfrom service.cli import build_parser\nbuild_parser().format_help()\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    for verb in ("try", "inspect", "demo", "train", "serve", "feed"):
        assert logvq(verb, "--help").returncode == 0


def test_no_gpu_is_said_before_anything_is_read(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    # Also before the log is read, which is too short here.
    short = tmp_path / "short.log"
    short.write_text("door open\n")
    refused(logvq("train", short, "--device", "cuda", "--out", tmp_path / "b"), "no CUDA device", "--device")
    assert not (tmp_path / "b").exists()


def test_a_training_that_was_stopped_is_not_taken_for_another(log: Path, tmp_path: Path) -> None:
    (tmp_path / ".b.training").write_bytes(b"no checkpoint")
    refused(logvq("train", log, "--out", tmp_path / "b"), ".b.training", "remove it")


def japanese_log(path: Path) -> None:
    lines = []
    for number in range(1600):
        hour, minute, second = number // 60 // 60, number // 60 % 60, number % 60
        what = ("主軸起動", "加工開始", f"温度{20 + number % 7}℃", "加工完了")[number % 4]
        lines.append(f"令和8年1月5日 {hour}時{minute:02}分{second:02}秒 プレス{number % 3:02}号機{what}")
    path.write_bytes("\r\n".join(lines).encode("cp932"))


def test_inspect_writes_what_train_and_try_read(tmp_path: Path) -> None:
    japanese_log(tmp_path / "press.log")
    done = logvq("inspect", "press.log", "-o", "logvq.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in (
        "cp932",
        "era",
        "Asia/Tokyo",
        "What the sample cannot tell",
        "2026-01-04T15:00:00.000Z",
        "プレス00号機",
    ):
        assert words in done.stdout, done.stdout
    found = json.loads(logvq("inspect", "press.log", "--json", cwd=tmp_path).stdout)
    assert found["format"]["time"] == "era"
    refused(logvq("inspect", "press.log", "-o", "logvq.toml", cwd=tmp_path), "already", "-o")
    tried = logvq("try", "press.log", "--config", "logvq.toml", "--json", cwd=tmp_path)
    assert tried.returncode == 0, tried.stderr
    assert sum(json.loads(tried.stdout)["accounting"]["outcomes"]["dropped"].values()) == 0
    assert "2026-01-04T15:13" in tried.stdout
    text = (tmp_path / "logvq.toml").read_text("utf-8")
    (tmp_path / "logvq.toml").write_text(text.replace("encoding", "encodng"), "utf-8")
    refused(logvq("try", "press.log", "--config", "logvq.toml", cwd=tmp_path), "logvq.toml", "encodng", "encoding")
    refused(logvq("try", "press.log", "--config", "none.toml", cwd=tmp_path), "none.toml", "logvq inspect")


@pytest.mark.parametrize("content", [b"", bytes(range(128, 256)) * 90], ids=["empty", "binary"])
def test_inspect_refuses_what_is_no_log(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.log").write_bytes(content)
    refused(logvq("inspect", "bad.log", cwd=tmp_path), "bad.log")


def test_inspect_answers_without_the_model(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"2026-01-05 00:00:00 door open\n" * 50)
    script = "import sys\nfrom service.cli import main\nmain(['inspect', 'a.log'])\nprint('torch' in sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert done.stdout.splitlines()[-1] == "False"
