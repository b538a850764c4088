"""The addresses that write, and what each does.

Success is always 200, also of a create. Pipelines, stages, users, loss reasons and sources have no such
address, and neither have leads, projects and tasks in the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from crmkit.sandbox.copper.account import Account
from crmkit.sandbox.copper.activities import Activities
from crmkit.sandbox.copper.answers import Body, not_found
from crmkit.sandbox.copper.definitions import DefinitionWrites
from crmkit.sandbox.copper.links import Links
from crmkit.sandbox.copper.notes import NoteWrites
from crmkit.sandbox.copper.records import KINDS
from crmkit.sandbox.copper.writes import bulk, bulk_update_of, create, delete, known_row, update
from crmkit.sandbox.rows import Kind
from crmkit.sandbox.wire import Refusal, json_reply

Handler = Callable[[Request, Body], Response]


class Writing:
    """Answers what writes to one account."""

    def __init__(self, account: Account, activities: Activities, links: Links) -> None:
        self.account, self.records = account, account.records
        self.links = links
        self.notes = NoteWrites(account, activities)
        self.definitions = DefinitionWrites(account)

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """By method and path; the order matters, as `{entity}` fits anything."""
        definitions, notes, webhooks = self.definitions, self.notes, self.account.webhooks
        simple: dict[tuple[str, str], Callable[[str, Body], Any]] = {
            ("POST", "/activities"): lambda _, body: notes.create(body),
            ("POST", "/activities/bulk_create"): lambda _, body: bulk(body, "activities", notes.create),
            ("POST", "/custom_field_definitions"): lambda _, body: definitions.create(body),
            ("POST", "/webhooks"): lambda _, body: webhooks.create(body),
            ("PUT", "/activities/{id:int}"): notes.update,
            ("PUT", "/custom_field_definitions/{id:int}"): definitions.update,
            ("DELETE", "/activities/{id:int}"): lambda id_, _: notes.delete(id_),
            ("DELETE", "/custom_field_definitions/{id:int}"): lambda id_, _: definitions.delete(id_),
            ("DELETE", "/webhooks/{id:int}"): lambda id_, _: webhooks.delete(id_),
        }
        return {
            **{where: _answering(act) for where, act in simple.items()},
            ("POST", "/{entity}/bulk_create"): self._bulk_create,
            ("POST", "/{entity}/bulk_update"): self._bulk_update,
            ("POST", "/{entity}/{id:int}/related"): self._relate,
            ("DELETE", "/{entity}/{id:int}/related"): self._part,
            ("POST", "/{entity}"): self._create,
            ("PUT", "/{entity}/{id:int}"): self._update,
            ("DELETE", "/{entity}/{id:int}"): self._delete,
        }

    def _create(self, request: Request, body: Body) -> Response:
        kind = self._kind(request)
        return json_reply(self._shown(request, kind)(create(self.account, kind, body)))

    def _update(self, request: Request, body: Body) -> Response:
        kind, row_id = self._known(request)
        return json_reply(self._shown(request, kind)(update(self.account, kind, row_id, body)))

    def _delete(self, request: Request, body: Body) -> Response:
        kind, row_id = self._known(request)
        return json_reply(delete(self.account, kind, row_id))

    def _bulk_create(self, request: Request, body: Body) -> Response:
        kind = self._bulk_kind(request)
        show = self._shown(request, kind)
        key = request.path_params["entity"]
        return bulk(body, key, lambda part: show(create(self.account, kind, part)))

    def _bulk_update(self, request: Request, body: Body) -> Response:
        kind = self._bulk_kind(request)
        write = bulk_update_of(self.account, kind, self._shown(request, kind))
        return bulk(body, request.path_params["entity"], write)

    def _relate(self, request: Request, body: Body) -> Response:
        return json_reply(self.links.add(self._known(request), body))

    def _part(self, request: Request, body: Body) -> Response:
        return json_reply(self.links.remove(self._known(request), body))

    def _kind(self, request: Request) -> Kind:
        kind = KINDS.get(request.path_params["entity"])
        if kind is None:
            raise Refusal(not_found())
        return kind

    def _bulk_kind(self, request: Request) -> Kind:
        """Only people's bulks are documented; the other two are assumed, so they can be hidden."""
        if request.path_params["entity"] in self.account.extra.get("copper_no_bulk", ()):
            raise Refusal(not_found())
        return self._kind(request)

    def _known(self, request: Request) -> tuple[Kind, str]:
        row_id = str(request.path_params["id"])
        return known_row(self.account, KINDS.get(request.path_params["entity"]), row_id), row_id

    def _shown(self, request: Request, kind: Kind) -> Callable[[Any], Any]:
        computed = request.query_params.get("custom_field_computed_values", "").lower() == "true"
        return self.records.shower(kind, computed=computed)


def _answering(act: Callable[[str, Body], Any]) -> Handler:
    def answer(request: Request, body: Body) -> Response:
        made = act(str(request.path_params.get("id", "")), body)
        if made is None:
            return not_found()
        return made if isinstance(made, Response) else json_reply(made)

    return answer
