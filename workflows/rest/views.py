"""Workflows over REST: parse, call one service, render."""

import re
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from staterail.accounts.rest.commands import actor_of, carry_out
from staterail.core.errors import NotFound
from staterail.core.openapi import page_of
from staterail.core.pagination import page, read_bool, read_limit, read_search, refuse_unknown_params
from workflows import selectors, services
from workflows.definition.schema import json_schema
from workflows.models import Workflow
from workflows.rest.serializers import (
    Archival,
    DefinitionBody,
    NewDraft,
    NewWorkflow,
    ProblemsAnswer,
    Publication,
    VersionAnswer,
    WorkflowAnswer,
)  # fmt: skip

JSON = Any
_PAGE = [OpenApiParameter("limit", int), OpenApiParameter("cursor", str)]


def _workflow_answer(request: Request, workflow: Workflow) -> JSON:
    return WorkflowAnswer(selectors.workflow_of(actor_of(request), workflow.id)).data


class Workflows(APIView):
    @extend_schema(
        operation_id="list_workflows", summary="List workflows, newest first",
        responses=page_of(WorkflowAnswer, cursor=True),
        parameters=[*_PAGE, OpenApiParameter("search", str), OpenApiParameter("archived", bool)],
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        refuse_unknown_params(request, {"search", "archived", "limit", "cursor"})
        actor = actor_of(request)
        found = selectors.workflows(
            actor, search=read_search(request), archived=read_bool(request, "archived", default=False)
        )
        rows, cursor = page(
            found, limit=read_limit(request), cursor=request.query_params.get("cursor"),
            scope=f"workflows:{actor.tenant_id}",
        )  # fmt: skip
        return Response({"results": WorkflowAnswer(rows, many=True).data, "next_cursor": cursor})

    @extend_schema(
        operation_id="create_workflow", summary="Create a workflow, with a draft where a definition is given",
        request=NewWorkflow, responses={201: WorkflowAnswer},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        body = NewWorkflow.read(request)
        return carry_out(
            request,
            "workflow.create",
            lambda: _workflow_answer(request, services.create_workflow(actor=actor_of(request), **body)),
            permission="workflows.add_workflow",
            status=201,
        )


class OneWorkflow(APIView):
    @extend_schema(operation_id="get_workflow", summary="A workflow, by id or slug", responses=WorkflowAnswer)
    def get(self, request: Request, workflow: str) -> Response:
        return Response(WorkflowAnswer(selectors.workflow_of(actor_of(request), workflow)).data)


class Draft(APIView):
    @extend_schema(operation_id="save_draft", summary="Save the draft", request=NewDraft, responses=VersionAnswer)
    def put(self, request: Request, workflow: str) -> Response:
        actor, body = actor_of(request), NewDraft.read(request)
        found = selectors.workflow_of(actor, workflow)
        return carry_out(
            request,
            "workflow.save_draft",
            lambda: VersionAnswer(services.save_draft(actor=actor, workflow=found, **body)).data,
            permission="workflows.change_workflow",
            on=found,
        )


class Publish(APIView):
    @extend_schema(
        operation_id="publish_version", summary="Publish the draft: 400 with `problems` where it has errors",
        request=Publication, responses=VersionAnswer,
    )  # fmt: skip
    def post(self, request: Request, workflow: str) -> Response:
        actor, body = actor_of(request), Publication.read(request)
        found = selectors.workflow_of(actor, workflow)
        return carry_out(
            request,
            "workflow.publish",
            lambda: VersionAnswer(services.publish(actor=actor, workflow=found, **body)).data,
            permission="workflows.publish_workflow",
            on=found,
        )


class Archive(APIView):
    @extend_schema(
        operation_id="archive_workflow", summary="Archive a workflow, or take it back", request=Archival,
        responses=WorkflowAnswer,
    )  # fmt: skip
    def post(self, request: Request, workflow: str) -> Response:
        actor, body = actor_of(request), Archival.read(request)
        found = selectors.workflow_of(actor, workflow)
        return carry_out(
            request,
            "workflow.archive",
            lambda: _workflow_answer(request, services.archive(actor=actor, workflow=found, **body)),
            permission="workflows.archive_workflow",
            on=found,
        )


class Versions(APIView):
    @extend_schema(
        operation_id="list_versions", summary="A workflow's versions, newest first", parameters=_PAGE,
        responses=page_of(VersionAnswer, cursor=True),
    )  # fmt: skip
    def get(self, request: Request, workflow: str) -> Response:
        refuse_unknown_params(request, {"limit", "cursor"})
        actor = actor_of(request)
        found = selectors.workflow_of(actor, workflow)
        rows, cursor = page(
            selectors.versions_of(actor, found), limit=read_limit(request, default=20),
            cursor=request.query_params.get("cursor"), scope=f"versions:{found.id}", key="version",
        )  # fmt: skip
        return Response({"results": VersionAnswer(rows, many=True).data, "next_cursor": cursor})


class OneVersion(APIView):
    @extend_schema(operation_id="get_version", summary="A version, by number", responses=VersionAnswer)
    def get(self, request: Request, workflow: str, version: str) -> Response:
        actor = actor_of(request)
        found = selectors.workflow_of(actor, workflow)
        if re.fullmatch(r"[0-9]{1,9}", version) is None:
            raise NotFound
        return Response(VersionAnswer(selectors.version_of(actor, found, int(version))).data)


class Validation(APIView):
    @extend_schema(
        operation_id="validate_definition", summary="What is wrong with a definition, all of it",
        request=DefinitionBody, responses=ProblemsAnswer,
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        body = DefinitionBody.read(request)
        return carry_out(
            request,
            "definition.validate",
            lambda: {"problems": services.problems_of(body["definition"])},
            permission="workflows.view_workflow",
        )


class DefinitionSchema(APIView):
    @extend_schema(
        operation_id="definition_schema", summary="The JSON Schema of the definition language", responses=dict
    )
    def get(self, request: Request) -> Response:
        return Response(json_schema())
