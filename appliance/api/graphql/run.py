"""One question from text to answer: read, weighed, validated, resolved, told.

Invariant: no text of an exception reaches a caller: mistakes of theirs are told in the words of the
GraphQL library, everything else by `telling.py`. Nothing of a question is kept. Imported by
`door.py` when the first question comes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import msgspec
from graphql import DocumentNode, GraphQLError, OperationDefinitionNode
from msgspec import Struct
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import (
    CannotGetOperationTypeError,
    InvalidOperationTypeError,
)
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType

from appliance.api.call import Call
from appliance.api.graphql.asker import Asker
from appliance.api.graphql.limits import read_question, weigh
from appliance.api.graphql.schema import build_schema
from appliance.api.graphql.telling import Told, refusal_status, refused, told_error
from appliance.api.ports import Services
from appliance.base.errors import ApplianceError, InvalidInputError

SENTENCE_CHARACTERS_MAX: Final = 300
"""A sentence of the GraphQL library repeats what was sent."""

_OK: Final = 200


class Question(Struct, frozen=True, rename="camel"):
    """The body of a request (GraphQL over HTTP)."""

    query: str
    operation_name: str | None = None
    variables: dict[str, object] | None = None


class _Weighed(SchemaExtension):
    """Reads and weighs a question before anything else looks at it."""

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        document = read_question(context.query or "")
        context.graphql_document = document
        asker = cast("Asker", context.context)
        if asker.operation_name is None and len(_operations(document)) > 1:
            # The library would take the first.
            raise _bad_request("there are several operations: say which in `operationName`")
        asker.cost = weigh(document, context.variables or {}).cost
        yield


class Engine:
    """The graph, ready to be asked."""

    def __init__(self, *, development: bool) -> None:
        self._schema = build_schema(development=development, extensions=[_Weighed])

    async def answer(self, services: Services, call: Call, body: bytes) -> Told:
        """The answer to a request's body, refusals included."""
        asker = Asker(call, services)
        try:
            question = _read(body)
            asker.operation_name = question.operation_name
            result = await self._execute(asker, question)
        except ApplianceError as error:
            return refused(error, call)
        errors = [_tell(one, call) for one in result.errors or ()]
        status = _OK if result.data is not None else refusal_status(call)
        answer: dict[str, object] = {"data": result.data} if result.data is not None else {}
        if errors:
            answer["errors"] = errors
        return Told(status=status, body=msgspec.json.encode(answer))

    async def _execute(self, asker: Asker, question: Question) -> ExecutionResult:
        try:
            return await self._schema.execute(
                question.query,
                variable_values=question.variables,
                context_value=asker,
                operation_name=question.operation_name,
                allowed_operation_types=(OperationType.QUERY,),
            )
        except MissingQueryError as error:
            raise _bad_request("there is no question") from error
        except CannotGetOperationTypeError as error:
            raise _bad_request("there is no such operation in the question") from error
        except InvalidOperationTypeError as error:
            raise InvalidInputError(
                "GRAPHQL_READ_ONLY", "this door reads only: there are queries and nothing else"
            ) from error


def _read(body: bytes) -> Question:
    try:
        return msgspec.json.decode(body, type=Question)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad_request(
            "the body is no JSON object with the texts `query`, `operationName` and an object "
            "`variables`"
        ) from error


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]


def _tell(error: GraphQLError, call: Call) -> dict[str, object]:
    cause: Exception = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    if isinstance(cause, GraphQLError):
        sentence = cause.message[:SENTENCE_CHARACTERS_MAX]
        cause = InvalidInputError("GRAPHQL_INVALID", sentence)
    told = told_error(cause, call)
    if error.locations:
        told["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path:
        told["path"] = cast("Sequence[Any]", error.path)
    return told


def _bad_request(sentence: str) -> InvalidInputError:
    return InvalidInputError("GRAPHQL_BAD_REQUEST", sentence)
