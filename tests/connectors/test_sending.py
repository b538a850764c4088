"""Writes that are sent side by side."""

from __future__ import annotations

import threading

import pytest

from crmkit.connectors.sending import Job, send
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import AccessDenied
from crmkit.model import Kind

PATIENCE_SECONDS = 30


def change(number: int) -> Change:
    return Change(str(number), Act.CREATE, Kind.DEAL)


def job(number: int, run=lambda: None) -> Job:
    def carry_out() -> list[Written]:
        run()
        return [Written(str(number), Result.DONE)]

    return Job([change(number)], carry_out)


def test_requests_go_on_while_the_caller_stores_outcomes():
    second = threading.Event()
    groups = send([job(1), job(2, second.set)], 1)
    next(groups)
    assert second.wait(PATIENCE_SECONDS)
    assert [one.id for group in groups for one in group] == ["2"]


def test_refused_credentials_stop_what_was_not_sent():
    def refuse() -> None:
        raise AccessDenied("no")

    found: list[Written] = []

    def run() -> None:
        for group in send([job(1, refuse), job(2)], 1):
            found.extend(group)

    with pytest.raises(AccessDenied):
        run()
    assert [(one.id, one.result) for one in found] == [("1", Result.UNSENT), ("2", Result.UNSENT)]
