"""A sample of `python -m tests.crash_campaign`: runs that are killed, and the runs that go on after them."""

from __future__ import annotations

import os

import pytest

from tests import crash_histories

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


def test_a_killed_sync_goes_on_and_ends_as_if_nothing_had_happened() -> None:
    # Three points in each CRM: how outcomes are grouped differs from run to run, so that a
    # run may end before the last of its points.
    campaign = crash_histories.run(15)
    assert campaign.failures == []
    assert len(campaign.killed) > 10
    assert {point.crm for point in campaign.killed} == set(crash_histories.CRMS)
