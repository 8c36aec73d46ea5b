"""Runs over REST: parse, call one service, render."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runs import selectors, services
from runs.approvals import Decider
from runs.machine.states import RunState
from runs.models import WorkflowRun
from runs.rest.answers import item_index_is_null, run_answer, runs_answer, step_answer
from runs.rest.serializers import (
    ApprovalAnswer,
    Batch,
    Cancellation,
    EventAnswer,
    LogLineAnswer,
    NewRun,
    Nothing,
    RunAnswer,
    RunDetailAnswer,
    StepRetry,
    StepRunAnswer,
    Transition,
)  # fmt: skip
from staterail.accounts.idempotency import read_key
from staterail.accounts.rest.commands import actor_of, carry_out
from staterail.core import tracing
from staterail.core.openapi import page_of
from staterail.core.pagination import (
    page_of_parts,
    read_choices,
    read_int,
    read_limit,
    read_search,
    read_span,
    read_uuid,
    refuse_unknown_params,
)  # fmt: skip
from workflows.selectors import workflow_of

JSON = Any
OPERATE = "workflows.operate_workflow"


class StartRun(APIView):
    @extend_schema(
        operation_id="start_run", summary="Start a run; 200 where the Idempotency-Key had started it before",
        request=NewRun, responses={201: RunAnswer, 200: RunAnswer},
    )  # fmt: skip
    def post(self, request: Request, workflow: str) -> Response:
        actor, body, key = actor_of(request), NewRun.read(request), read_key(request)
        started = services.start_run(
            actor=actor, workflow=workflow_of(actor, workflow), idempotency_key=key, **{"input": {}, **body}
        )
        answer = run_answer(actor, selectors.run_of(actor, started.run_id))
        headers = None if started.created else {"Idempotency-Replayed": "true"}
        return Response(answer, status=201 if started.created else 200, headers=headers)


class StartRuns(APIView):
    max_body_bytes = 64 * 1024 * 1024

    @extend_schema(
        operation_id="start_runs", summary="Start up to 1,000 runs: all of them, or none", request=Batch,
        responses={201: inline_serializer("RunIds", {"run_ids": serializers.ListField(child=serializers.UUIDField())})},
    )  # fmt: skip
    def post(self, request: Request, workflow: str) -> Response:
        actor, body = actor_of(request), Batch.read(request)
        found = workflow_of(actor, workflow)
        requests = [services.RunRequest(**item) for item in body["runs"]]

        def start() -> JSON:
            return {"run_ids": [str(id) for id in services.start_runs(actor=actor, workflow=found, requests=requests)]}

        return carry_out(request, "run.start_batch", start, permission=OPERATE, on=found, status=201)


class Runs(APIView):
    @extend_schema(
        operation_id="list_runs", summary="List runs, newest first", responses=page_of(RunAnswer, cursor=True),
        parameters=[
            OpenApiParameter("workflow_id", UUID), OpenApiParameter("state", str, many=True, enum=list(RunState)),
            OpenApiParameter("created_after", str), OpenApiParameter("created_before", str),
            OpenApiParameter("search", str), OpenApiParameter("limit", int), OpenApiParameter("cursor", str),
        ],
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        known = {"workflow_id", "state", "created_after", "created_before", "search", "limit", "cursor"}
        refuse_unknown_params(request, known)
        actor = actor_of(request)
        after, before = read_span(request, "created_after", "created_before")
        found = selectors.runs_wanted(
            actor,
            workflow_id=read_uuid(request, "workflow_id"),
            states=read_choices(request, "state", list(RunState)),
            created_after=after,
            created_before=before,
            search=read_search(request),
        )
        cursor = request.query_params.get("cursor")
        rows, cursor = page_of_parts(found, limit=read_limit(request), cursor=cursor, scope=f"runs:{actor.tenant_id}")
        return Response({"results": runs_answer(actor, rows), "next_cursor": cursor})


class OneRun(APIView):
    @extend_schema(
        operation_id="get_run", summary="A run with all its steps; large values are left out", responses=RunDetailAnswer
    )
    def get(self, request: Request, run_id: str) -> Response:
        actor = actor_of(request)
        run = selectors.run_of(actor, run_id)
        return Response(run_answer(actor, run, detail=True))


class OneStep(APIView):
    @extend_schema(
        operation_id="get_step_run", summary="A step run, whole", responses=StepRunAnswer,
        parameters=[OpenApiParameter("item_index", int)],
    )  # fmt: skip
    def get(self, request: Request, run_id: str, step_id: str) -> Response:
        refuse_unknown_params(request, {"item_index"})
        item_index_is_null(read_int(request, "item_index", 0, 2**31 - 1))
        actor = actor_of(request)
        return Response(step_answer(actor, selectors.run_of(actor, run_id), step_id))


class Events(APIView):
    @extend_schema(
        operation_id="list_events", summary="A run's events in `seq` order", responses=page_of(EventAnswer),
        parameters=[OpenApiParameter("after_seq", int), OpenApiParameter("limit", int)],
    )  # fmt: skip
    def get(self, request: Request, run_id: str) -> Response:
        refuse_unknown_params(request, {"after_seq", "limit"})
        actor = actor_of(request)
        after = read_int(request, "after_seq", 0, 2**31 - 1) or 0
        limit = read_limit(request, maximum=1000, default=100)
        events = selectors.events_of(actor, selectors.run_of(actor, run_id), after_seq=after, limit=limit)
        return Response({"results": EventAnswer(events, many=True).data})


class Logs(APIView):
    @extend_schema(
        operation_id="list_logs", summary="What a step wrote, oldest first", responses=page_of(LogLineAnswer),
        parameters=[
            OpenApiParameter("attempt", int), OpenApiParameter("item_index", int), OpenApiParameter("offset", int),
            OpenApiParameter("limit", int), OpenApiParameter("search", str),
        ],
    )  # fmt: skip
    def get(self, request: Request, run_id: str, step_id: str) -> Response:
        refuse_unknown_params(request, {"attempt", "item_index", "offset", "limit", "search"})
        item_index_is_null(read_int(request, "item_index", 0, 2**31 - 1))
        actor = actor_of(request)
        run = selectors.run_of(actor, run_id)
        selectors.step_of(actor, run, step_id)
        lines = selectors.logs_of(
            actor, run, step_id,
            attempt=read_int(request, "attempt", 1, 2**31 - 1),
            search=read_search(request),
            offset=read_int(request, "offset", 0, 2**31 - 1) or 0,
            limit=read_limit(request, maximum=1000, default=100),
        )  # fmt: skip
        return Response({"results": LogLineAnswer(lines, many=True).data})


class Cancel(APIView):
    @extend_schema(operation_id="cancel_run", summary="Cancel a run", request=Cancellation, responses=RunAnswer)
    def post(self, request: Request, run_id: str) -> Response:
        actor, body = actor_of(request), Cancellation.read(request)
        run = selectors.run_of(actor, run_id)

        def cancel() -> JSON:
            services.cancel_run(actor=actor, run_id=run.id, corr_id=tracing.correlation_id(), **body)
            return _fresh(request, run)

        return carry_out(request, "run.cancel", cancel, permission=OPERATE, on=run)


class Retry(APIView):
    @extend_schema(
        operation_id="retry_run", summary="Take up a failed or cancelled run where it failed", request=Nothing,
        responses=RunAnswer,
    )  # fmt: skip
    def post(self, request: Request, run_id: str) -> Response:
        actor = actor_of(request)
        Nothing.read(request)
        run = selectors.run_of(actor, run_id)

        def retry() -> JSON:
            services.retry_run(actor=actor, run_id=run.id, corr_id=tracing.correlation_id())
            return _fresh(request, run)

        return carry_out(request, "run.retry", retry, permission=OPERATE, on=run)


class RetryStep(APIView):
    @extend_schema(
        operation_id="retry_step", summary="Queue a failed step again, with another input where one is given",
        request=StepRetry, responses=StepRunAnswer,
    )  # fmt: skip
    def post(self, request: Request, run_id: str, step_id: str) -> Response:
        actor, body = actor_of(request), StepRetry.read(request)
        item_index_is_null(body.pop("item_index", None))
        run = selectors.run_of(actor, run_id)

        def retry() -> JSON:
            services.retry_step(actor=actor, run_id=run.id, step_id=step_id, corr_id=tracing.correlation_id(), **body)
            return step_answer(actor, run, step_id)

        return carry_out(request, "run.retry_step", retry, permission=OPERATE, on=run)


class ManualTransition(APIView):
    @extend_schema(
        operation_id="manual_transition", summary="Approve or reject a step that waits for it", request=Transition,
        responses=StepRunAnswer,
    )  # fmt: skip
    def post(self, request: Request, run_id: str, step_id: str) -> Response:
        actor, body = actor_of(request), Transition.read(request)
        item_index_is_null(body.pop("item_index", None))
        run = selectors.run_of(actor, run_id)

        def decide() -> JSON:
            services.decide_approval(
                actor=actor, run_id=run.id, step_id=step_id, corr_id=tracing.correlation_id(), **body
            )
            return step_answer(actor, run, step_id)

        return carry_out(request, "run.manual_transition", decide, permission="runs.decide_approval", on=run)


class Approvals(APIView):
    @extend_schema(
        operation_id="list_approvals", summary="Approvals that wait and that you may decide",
        responses=page_of(ApprovalAnswer), parameters=[OpenApiParameter("limit", int)],
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        refuse_unknown_params(request, {"limit"})
        decider = Decider(actor_of(request))
        found = selectors.approvals(decider, limit=read_limit(request, default=100))
        many: Any = ApprovalAnswer  # the stubs know one only
        return Response({"results": many(found, many=True, context={"decider": decider}).data})


def _fresh(request: Request, run: WorkflowRun) -> JSON:
    actor = actor_of(request)
    return run_answer(actor, selectors.run_of(actor, run.id))
