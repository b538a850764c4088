"""What connectors call a field is told by the name that the sync knows."""

from __future__ import annotations

import pytest

from crmkit.mapping.custom import CustomField
from crmkit.sync.model_fields import deal_field

CUSTOM = {"segment": CustomField("501", "choice")}


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("companies", "company"),
        ("owner_id", "owner"),
        ("pipeline_id", "stage"),
        ("stage_id", "stage"),
        ("outcome", "stage"),
        ("currency", "amount"),
        ("value_period", "amount"),
        ("custom.501", "segment"),
    ],
)
def test_a_model_field_belongs_to_a_field_of_the_sync(model: str, field: str):
    assert deal_field(model, CUSTOM) == field


@pytest.mark.parametrize("name", ["company", "owner", "stage", "amount", "segment", "contacts", "custom.502"])
def test_other_names_stay_as_they_are(name: str):
    assert deal_field(name, CUSTOM) == name
