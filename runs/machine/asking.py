"""What a HumanApproval asks, and whom: judged where it is made, by expressions or by a retry's input."""

from typing import Any

from runs.machine.context import context_of
from runs.machine.draft import Draft
from staterail.core.strict_json import dumps
from workflows.definition.configs import resolved_problems
from workflows.definition.expressions import ExpressionError
from workflows.definition.templates import compile_template

JSON = Any
RULES = ("assignees", "form_schema", "forbid_starter")  # the definition's: no command lifts them
MAX_FORM = 64 * 1024  # characters of a form_schema that a run makes: half a second to judge
MAX_TOLD = 5


def with_its_rules(draft: Draft, written: dict[str, JSON], given: JSON) -> JSON:
    """A retry's input, but for the rules, which stay the definition's. Raises ExpressionError."""
    if not isinstance(given, dict):
        return given
    template = compile_template({key: written[key] for key in RULES if key in written}, draft.plan.index)
    rules = template.render(context_of(draft, template.references))
    return {**{key: value for key, value in given.items() if key not in RULES}, **rules}


def check_approval(written: dict[str, JSON], config: JSON) -> None:
    """Judge a resolved config; publishing has judged a form that is still as `written`. Raises ExpressionError."""
    form = config.get("form_schema") if isinstance(config, dict) else None
    if form is not None and form == written.get("form_schema"):
        config = {key: value for key, value in config.items() if key != "form_schema"}
    elif len(dumps(form)) > MAX_FORM:
        raise ExpressionError(f"/form_schema: a form that a run makes has {MAX_FORM} characters at most")
    problems = resolved_problems("HumanApproval", config)
    if problems:
        told = [f"{problem['path']}: {problem['message']}".lstrip(": ") for problem in problems[:MAX_TOLD]]
        raise ExpressionError("; ".join(told))
