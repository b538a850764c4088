"""A log line is one line without a secret, whatever text it carries; its file is its owner's."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.credentials import MASK, Redactor
from crmkit.errors import UsageError
from crmkit.logs import LineFormatter, Log, LogOptions
from crmkit.observing import Level
from tests.observe.conftest import SECRET

SECRETS = [SECRET, "tab\tand\nnewline", "\u202eoverride", "plain-token"]


def line(form: str, redact: Callable[[str], str], event: str = "request", **fields: object) -> str:
    record = logging.LogRecord("crmkit", logging.INFO, "", 0, event, (), None)
    record.fields = fields
    return LineFormatter(form, redact).format(record)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["text", "json"])
@given(text=st.text())
def test_any_text_is_one_line_of_visible_characters(form: str, text: str) -> None:
    found = line(form, str, label=text)
    assert found.isprintable()
    assert len(found.splitlines()) == 1


@given(text=st.text())
def test_a_json_line_reads_back_as_what_was_told(text: str) -> None:
    assert json.loads(line("json", str, label=text, status=200))["label"] == text


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_wherever_it_stands(form: str, secret: str) -> None:
    redactor = Redactor()
    redactor.learn(secret)
    found = line(form, redactor.redact, f"request {secret}", label=f"GET /{secret}/deals", error=secret)
    assert secret not in found
    assert json.dumps(secret)[1:-1] not in found
    assert json.dumps(secret, ensure_ascii=False)[1:-1] not in found
    assert found.count(MASK) == 3


def test_a_text_line_can_be_split_at_its_spaces() -> None:
    found = line("text", str, connection="hubspot-us", label="GET /x y=z", status=200, seconds=0.5)
    assert found.partition(" ")[2] == (
        'info request connection=hubspot-us label="GET /x y=z" status=200 seconds=0.5'
    )


def log(path: Path, level: Level = Level.INFO) -> Log:
    return Log(LogOptions("json", level, path), str)


def test_the_file_is_its_owners_and_is_made_again_after_it_was_moved(tmp_path: Path) -> None:
    path = tmp_path / "crmkit.log"
    one = log(path)
    one.event("run_begin", Level.INFO, {"run": 1})
    path.rename(tmp_path / "crmkit.log.1")
    one.event("run_begin", Level.INFO, {"run": 2})
    one.close()
    assert [json.loads(name.read_text())["run"] for name in sorted(tmp_path.iterdir(), reverse=True)] == [
        1,
        2,
    ]
    assert {stat.S_IMODE(name.stat().st_mode) for name in tmp_path.iterdir()} == {0o600}


def test_a_second_run_appends(tmp_path: Path) -> None:
    for number in (1, 2):
        one = log(tmp_path / "crmkit.log")
        one.event("run_begin", Level.INFO, {"run": number})
        one.close()
    assert len((tmp_path / "crmkit.log").read_text().splitlines()) == 2


def test_what_is_less_important_than_asked_for_is_left_out(tmp_path: Path) -> None:
    one = log(tmp_path / "crmkit.log", Level.WARNING)
    one.event("run_begin", Level.INFO, {"run": 1})
    one.event("guard", Level.WARNING, {"run": 1})
    one.close()
    assert json.loads((tmp_path / "crmkit.log").read_text())["event"] == "guard"


def test_a_full_disk_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    one = log(Path("/dev/full"))
    one.event("run_begin", Level.INFO, {"run": 1})
    one.close()
    assert capfd.readouterr() == ("", "")


def test_a_file_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write the log file"):
        log(tmp_path / "nowhere" / "crmkit.log")


def test_what_other_packages_log_goes_the_same_way(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.learn(SECRET)
    one = Log(LogOptions("json", Level.INFO, tmp_path / "crmkit.log"), redactor.redact)
    other = logging.getLogger("a.worker")
    one.hear("a.worker")
    try:
        other.warning("two\nlines of %s", SECRET)
    finally:
        other.removeHandler(one.handler)
        one.close()
    (found,) = (tmp_path / "crmkit.log").read_text().splitlines()
    assert json.loads(found)["logger"] == "a.worker"
    assert json.loads(found)["event"] == f"two\nlines of {MASK}"
