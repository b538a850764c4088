"""What a CRM demands of new records, by the names of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crmkit.connectors.base import Field
from crmkit.connectors.writing import Writing
from crmkit.model import Kind

# What fields are called, as ids and as labels, without signs and in lower case.
_SHARED = {
    "owner_id": ("owner", "ownerid", "assignedto", "responsible", "assignee", "assigneeid", "assignedbyid"),
    "phones": ("phone", "phones", "phonenumber", "phonenumbers"),
    "city": ("city", "billingcity", "mailingcity"),
    "country": ("country", "countryregion", "billingcountry", "mailingcountry"),
    "postcode": ("zip", "zipcode", "postcode", "postalcode", "billingcode", "mailingzip"),
    "source": ("source", "leadsource"),
    "tags": ("tag", "tags"),
}
_WORDS: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    Kind.DEAL: {
        **_SHARED,
        "name": ("name", "dealname", "title", "opportunityname"),
        "pipeline_id": ("pipeline", "pipelineid", "category", "categoryid"),
        "stage_id": ("stage", "stageid", "dealstage", "pipelinestageid", "status", "statusid"),
        "amount": ("amount", "value", "monetaryvalue"),
        "currency": ("currency", "currencyid", "monetaryunit"),
        "probability": ("probability", "confidence", "winprobability"),
        "expected_close": ("expectedclose", "closedate", "closingdate", "expectedclosedate"),
        "lost_reason": ("lostreason", "closedlostreason", "reasonforloss", "lossreason", "lossreasonid"),
        "companies": ("company", "companyid", "companyids", "account", "accountname", "lead", "leadid"),
        "contacts": ("contact", "contactid", "contactids", "contactname", "primarycontactid"),
    },
    Kind.COMPANY: {
        **_SHARED,
        "name": ("name", "companyname", "accountname", "title"),
        "domain": ("domain", "website", "companydomainname", "emaildomain", "url", "web"),
        "tax_id": ("taxid", "vatid", "vatnumber"),
    },
    Kind.CONTACT: {
        **_SHARED,
        "name": ("name", "fullname"),
        "first_name": ("firstname",),
        "last_name": ("lastname",),
        "emails": ("email", "emails", "emailaddress"),
        "companies": ("company", "companyid", "companyids", "accountname", "lead", "leadid"),
    },
}  # fmt: skip
# A person's last name is made of the whole name where a CRM wants one.
_INSTEAD = {"last_name": ("last_name", "name"), "name": ("name", "first_name", "last_name")}


def model_name(kind: Kind, text: str) -> str | None:
    """The model's name of a field, given its id or label in a CRM; `None` if it is not known."""
    word = "".join(one for one in text.casefold() if one.isalnum())
    for name, words in _WORDS.get(kind, {}).items():
        if word in words or word == name.replace("_", ""):
            return name
    return None


class Shape:
    """The fields of one kind by the names of the model.

    Attributes:
        by_name: A field's description, custom ones as `custom.<id>`.
        required: What a person calls a required field, and the names that provide it.
        unknown: Required fields of which it is not known what provides them.
        unique: Names whose values must not occur twice.
    """

    def __init__(self, kind: Kind, fields: Sequence[Field], writing: Writing) -> None:
        self.by_name: dict[str, Field] = {}
        self.unknown: list[str] = []
        required: dict[str, str] = {}
        for one in fields:
            if one.read_only and not one.custom:
                continue  # the connector knows which of the CRM's own fields it writes
            name = (
                f"custom.{one.id}" if one.custom else model_name(kind, one.id) or model_name(kind, one.label)
            )
            if name is not None and (name not in self.by_name or one.required):
                self.by_name[name] = one
            if one.required and not one.read_only:
                if name is None:
                    self.unknown.append(one.label)
                else:
                    required[name] = one.label
        for name in sorted(writing.required):
            required.setdefault(name, name)
        self.required = [
            (label, (name, *_INSTEAD.get(name, ())) if kind is Kind.CONTACT else (name,))
            for name, label in required.items()
        ]
        self.unique = [name for name, one in self.by_name.items() if one.unique]
        self._options = {
            name: frozenset({*one.options, *one.options.values()})
            for name, one in self.by_name.items()
            if one.options
        }

    def needs(self, name: str) -> bool:
        """Whether no record can be without a field."""
        return any(name in names for _, names in self.required)

    def takes(self, name: str, option: str) -> bool:
        """Whether a field has an option, by its id or its label."""
        return option in self._options.get(name, frozenset())
