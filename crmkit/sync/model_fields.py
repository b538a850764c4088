"""From the model's fields, which connectors name, to the fields that a sync keeps in step."""

from __future__ import annotations

from collections.abc import Mapping

from crmkit.mapping.custom import CustomField

_DEAL_FIELDS: Mapping[str, str] = {
    "companies": "company", "pipeline_id": "stage", "stage_id": "stage", "outcome": "stage",
    "currency": "amount", "value_period": "amount", "owner_id": "owner",
}  # fmt: skip


def deal_field(name: str, custom: Mapping[str, CustomField] | None = None) -> str:
    """The field of a deal that a model field belongs to, by the name a person knows.

    Args:
        name: The model's name, `custom.<the CRM's id>` for a custom field; what is already the
            name of a field, or belongs to none, stays as it is.
        custom: The custom fields of the connection that are kept in step, by their common name.
    """
    known = {f"custom.{one.id}": common for common, one in (custom or {}).items()}
    return known.get(name) or _DEAL_FIELDS.get(name, name)
