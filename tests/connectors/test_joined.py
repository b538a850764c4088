"""Misreadings that showed when connectors that write met the sandboxes that take writes."""

from __future__ import annotations

import pytest

from crmkit.connectors.close.bodies import Body
from crmkit.connectors.close.posts import dropped


@pytest.mark.parametrize("lead", ["lead_5KM3DTjvxtlQoRXzY2I6kvNpy0pIOiLghpRMw7bW8Ke", "lead_abc"])
def test_close_an_id_with_a_t_in_the_eleventh_place_is_no_time(lead: str) -> None:
    body = Body({"lead_id": lead}, fields={"lead_id": "companies"})
    assert dropped(body, {"lead_id": lead}, judge=False) == {}


def test_close_a_day_may_be_answered_with_a_time() -> None:
    body = Body({"date_won": "2027-01-31"}, fields={"date_won": "expected_close"})
    assert dropped(body, {"date_won": "2027-01-31T12:00:00+00:00"}, judge=False) == {}


def test_close_another_day_is_noticed() -> None:
    body = Body({"date_won": "2027-01-31"}, fields={"date_won": "expected_close"})
    found = dropped(body, {"date_won": "2027-01-30T12:00:00+00:00"}, judge=False)
    assert found == {"expected_close": "Close stored another value"}
