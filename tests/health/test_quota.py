"""What each CRM tells about the calls that are left, and about rights to write."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import ClassVar, cast

import pytest

from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.rights import unwritable as bitrix24_unwritable
from crmkit.connectors.close.rights import read_quota as close_quota
from crmkit.connectors.hubspot import rights as hubspot
from crmkit.connectors.quota import Quota
from crmkit.connectors.zoho import rights as zoho
from crmkit.model import Kind
from tests.sandbox_bench import bench

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class TestHubSpot:
    HEADERS: ClassVar = {
        "X-HubSpot-RateLimit-Daily": "250000",
        "X-HubSpot-RateLimit-Daily-Remaining": "249000",
    }
    LINE: ClassVar = {"usageLimit": 250000, "currentUsage": 900, "resetsAt": "2026-11-25T05:00:00.000Z"}

    def test_headers_are_exact_and_the_body_tells_when_the_day_ends(self) -> None:
        reset = datetime(2026, 11, 25, 5, 0, tzinfo=UTC)
        assert hubspot.read_quota(self.HEADERS, self.LINE) == Quota(
            250000, 249000, 1000, reset, "API calls a day of the account"
        )

    def test_the_body_helps_where_headers_say_nothing(self) -> None:
        found = hubspot.read_quota({}, self.LINE)
        assert found is not None
        assert (found.left, found.used) == (249100, 900)

    def test_an_oauth_install_has_no_daily_limit(self) -> None:
        assert hubspot.read_quota({}, {}) is None

    def test_scopes_are_judged_only_where_they_were_told(self) -> None:
        granted = "oauth crm.objects.deals.read crm.objects.deals.write crm.schemas.deals.write"
        assert hubspot.unwritable(None, [Kind.DEAL]) == []
        assert hubspot.unwritable(granted, [Kind.DEAL]) == []
        assert hubspot.unwritable(granted, [Kind.COMPANY]) == [
            "the scope crm.objects.companies.write",
            "the scope crm.schemas.companies.write",
        ]

    def test_the_sandbox_counts_every_call(self) -> None:
        with bench("hubspot", deals=3, limits="real") as box, closing(box.connect()) as connector:
            first, second = connector.quota(), connector.quota()
        assert first is not None
        assert second is not None
        assert (second.left, second.used) == (first.left - 1, (first.used or 0) + 1)
        assert second.resets_at is not None


class TestZoho:
    ORG: ClassVar = {"license_details": {"paid_type": "enterprise", "users_license_purchased": 12}}

    def test_until_half_is_used_at_least_half_is_left(self) -> None:
        found = zoho.read_quota(self.ORG, None)
        assert found is not None
        assert (found.limit, found.left, found.used, found.at_least) == (62_000, 31_000, None, True)

    def test_from_half_on_the_header_tells(self) -> None:
        found = zoho.read_quota(self.ORG, 10)
        assert found is not None
        assert (found.left, found.used, found.at_least) == (10, 61_990, False)

    @pytest.mark.parametrize(
        ("edition", "users", "limit"),
        [("free", 3, 5_000), ("standard", 400, 100_000), ("ultimate", 10, 70_000), ("Zoho One", 1, 51_000)],
    )
    def test_the_limit_follows_edition_and_users(self, edition: str, users: int, limit: int) -> None:
        found = zoho.read_quota(
            {"license_details": {"paid_type": edition, "users_license_purchased": users}}, None
        )
        assert found is not None
        assert found.limit == limit

    @pytest.mark.parametrize(
        "org", [{}, {"license_details": None}, {"license_details": {"paid_type": "gold"}}]
    )
    def test_an_unknown_edition_gives_no_figure(self, org: dict[str, object]) -> None:
        assert zoho.read_quota(org, None) is None

    def test_wider_scopes_cover_narrower_ones(self) -> None:
        assert zoho.unwritable(None, [Kind.DEAL]) == []
        assert zoho.unwritable("ZohoCRM.modules.ALL,ZohoCRM.settings.ALL", [Kind.DEAL, Kind.COMPANY]) == []
        assert zoho.unwritable("ZohoCRM.modules.deals.WRITE,ZohoCRM.modules.deals.READ", [Kind.DEAL]) == [
            "the scope ZohoCRM.settings.fields.CREATE"
        ]

    def test_the_sandbox_tells_its_edition(self) -> None:
        with bench("zoho", deals=3) as box, closing(box.connect()) as connector:
            found = connector.quota()
        assert found is not None
        assert found.limit > 50_000


def test_close_tells_a_window_of_seconds() -> None:
    found = close_quota("limit=160, remaining=158, reset=5.5", NOW)
    assert found is not None
    assert (found.limit, found.left, found.short) == (160, 158, True)
    assert found.resets_at is not None
    assert (found.resets_at - NOW).total_seconds() == 5.5


@pytest.mark.parametrize("header", ["", "reset=3", "limit=, remaining=x"])
def test_close_without_numbers_tells_nothing(header: str) -> None:
    assert close_quota(header, NOW) is None


def test_close_in_the_sandbox_tells_its_window() -> None:
    with bench("close", deals=3, limits="real") as box, closing(box.connect()) as connector:
        found = connector.quota()
    assert found is not None
    assert 0 < found.left < found.limit


class _Portal:
    def __init__(self, profile: object) -> None:
        self.values = {"profile": profile}

    def run(self, *_: object, **__: object) -> _Portal:
        return self


@pytest.mark.parametrize(
    ("profile", "lacks"), [({"ADMIN": True}, 0), ({"ADMIN": False}, 1), ({}, 0), (None, 0)]
)
def test_bitrix24_wants_an_administrator(profile: object, lacks: int) -> None:
    assert len(bitrix24_unwritable(cast(Portal, _Portal(profile)))) == lacks
