"""What links two CRMs before masking links their masked twins, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crmkit.mapping import identity
from crmkit.rehearsal.masking import Masking
from crmkit.sandbox.blueprint import Blueprint
from crmkit.sandbox.server import Sandbox
from tests.rehearsal.real import pull
from tests.sandbox_bench import NOW, SandboxBench

Both = tuple[Blueprint, Blueprint]
MASK = Masking(b"one salt for both")
KEYS: dict[str, Callable[[Blueprint], list[tuple[str, str | None]]]] = {
    "domain": lambda one: [(company.id, identity.domain(company.domain)) for company in one.companies],
    "company name": lambda one: [
        (company.id, identity.company_name(company.name)) for company in one.companies
    ],
    "company phone": lambda one: [
        (company.id, identity.phone(phone)) for company in one.companies for phone in company.phones
    ],
    "e-mail": lambda one: [
        (person.id, identity.email(mail)) for person in one.contacts for mail in person.emails
    ],
    "person": lambda one: [(person.id, " ".join(identity.words(person.name))) for person in one.contacts],
    "owner": lambda one: [(user.id, identity.email(user.email)) for user in one.users],
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Both, Both]]:
    folder: Path = tmp_path_factory.mktemp("across")
    with Sandbox.up(["hubspot", "zoho"], deals=200, limits="off", now=NOW, seed=7) as box:
        copies = [pull(SandboxBench(box, crm), folder / f"{crm}.db") for crm in ("hubspot", "zoho")]
        plain = copies[0].blueprint(), copies[1].blueprint()
        yield plain, (copies[0].blueprint(MASK), copies[1].blueprint(MASK))


@pytest.mark.parametrize("key", KEYS)
def test_the_same_records_share_a_key_before_and_after_masking(drawn: tuple[Both, Both], key: str) -> None:
    def shared(both: Both) -> set[tuple[str, str]]:
        left, right = (KEYS[key](one) for one in both)
        by_value: dict[str, list[str]] = {}
        for native, value in left:
            if value:
                by_value.setdefault(value, []).append(native)
        return {(native, other) for other, value in right if value for native in by_value.get(value, ())}

    plain, anonymous = drawn
    assert shared(plain) != set()
    assert shared(anonymous) == shared(plain)
