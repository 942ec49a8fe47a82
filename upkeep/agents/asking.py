"""A typed answer of an agent: the schema that is demanded of it, and reading what comes back.

What belongs here: what every system that asks an agent does with a pydantic model of the answer. What does not: finding
the answer in a model's last words (`answers.py`), and believing it (the calling system).
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from upkeep.agents.base import AgentResult
from upkeep.errors import AgentSaidNothing

_Form = TypeVar("_Form", bound=BaseModel)


def strict_schema(form: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of the answer in the strict form that structured outputs demand: every property required, and no
    defaults."""
    schema = form.model_json_schema()
    for part in [schema, *schema.get("$defs", {}).values()]:
        part["required"] = list(part["properties"])
        for value in part["properties"].values():
            value.pop("default", None)
    return schema


def read_answer(result: AgentResult, form: type[_Form], *, agent: str, again: str) -> _Form:
    """The answer of agent `agent`. `again` says what asks it once more, as the end of a sentence.

    Raises AgentSaidNothing, also (`agent.answer_invalid`) where it is not of the form.
    """
    if result.outcome == "said_nothing" or result.answer is None:
        raise AgentSaidNothing(
            f"agent {agent} ended without a usable answer",
            remedy=f"Read its transcript {result.transcript}; {again}",
            said=result.message[:500],
        )
    try:
        return form.model_validate(result.answer)
    except ValidationError as error:
        raise AgentSaidNothing(
            f"the answer of agent {agent} is not of the demanded form: {error.error_count()} faults",
            code="agent.answer_invalid",
            remedy=f"Read its transcript {result.transcript}; a stronger model may help.",
        ) from error
