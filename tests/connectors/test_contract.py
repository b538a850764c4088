"""Every connector passes the contract against its sandbox CRM over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crmkit.testing import ConnectorContract
from tests.sandbox_bench import SandboxBench, bench


class TestHubSpot(ConnectorContract):
    """HubSpot against its sandbox."""

    @pytest.fixture
    def bench(self) -> Iterator[SandboxBench]:
        with bench("hubspot") as running:
            yield running


class TestZoho(ConnectorContract):
    """Zoho CRM against its sandbox."""

    @pytest.fixture(scope="class")  # so large a world takes a while to make
    @classmethod
    def bench(cls) -> Iterator[SandboxBench]:
        with bench("zoho", deals=4300) as running:  # more than two pages of COQL
            yield running


class TestCopper(ConnectorContract):
    """Copper against its sandbox."""

    @pytest.fixture
    def bench(self) -> Iterator[SandboxBench]:
        with bench("copper", deals=700) as running:
            yield running


class TestBitrix24(ConnectorContract):
    """Bitrix24 against its sandbox."""

    @pytest.fixture(scope="class")  # so large a world takes a while to make
    @classmethod
    def bench(cls) -> Iterator[SandboxBench]:
        with bench("bitrix24", deals=7600) as running:  # one batch holds 2,500
            yield running


class TestClose(ConnectorContract):
    """Close against its sandbox."""

    @pytest.fixture
    def bench(self) -> Iterator[SandboxBench]:
        with bench("close", deals=900) as running:
            yield running
