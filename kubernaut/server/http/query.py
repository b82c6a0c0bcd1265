"""Reads a request's query: each parameter once, none that the route does not have, and each of its type, exactly. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from kubernaut.errors import RequestInvalid, RequestMalformed
from kubernaut.models import Model
from kubernaut.server.problems import Fault, faulty, invalid

_MOST_PARAMETERS = 100
_SCALAR = re.compile(r"true|false|-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?")
_ENDLESS = (math.inf, -math.inf)
_NO_TEXT = {"integer", "number", "boolean"}


def query_reader(model: type[Model] | None) -> Callable[[str], Model | None]:
    """Return what reads the query string of a route with this model; without one, a query is refused.

    What it returns raises:
        RequestMalformed: The query is not UTF-8.
        RequestInvalid: A parameter is unknown, stands twice or is of the wrong type.
    """
    properties: Mapping[str, Any] = model.model_json_schema(by_alias=True)["properties"] if model else {}
    scalars = {name for name, schema in properties.items() if _kinds(schema) & _NO_TEXT}

    def read(text: str) -> Model | None:
        found = _parameters(text, properties)
        if model is None:
            return None
        values = {name: _value(value) if name in scalars else value for name, value in found.items()}
        try:
            return model.model_validate_json(json.dumps(values), strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            raise invalid(error, "query") from None

    return read


def _parameters(text: str, known: Mapping[str, Any]) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text.encode("latin-1").decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except UnicodeError:
        raise RequestMalformed("The request's query is not UTF-8.", hint="Percent-encode the query in UTF-8.") from None
    except ValueError:
        raise RequestInvalid(f"The request's query has more than {_MOST_PARAMETERS} parameters.") from None
    found = dict(pairs)
    faults = [Fault(pointer=f"/{name}", detail="There is no such parameter") for name in found if name not in known]
    if len(found) < len(pairs):
        twice = {name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1}
        faults += [Fault(pointer=f"/{name}", detail="The parameter stands more than once") for name in sorted(twice)]
    if faults:
        raise faulty("query", faults)
    return found


def _value(text: str) -> Any:
    value = json.loads(text) if _SCALAR.fullmatch(text) else text
    return text if value in _ENDLESS else value


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    return {str(choice.get("type")) for choice in (schema, *schema.get("anyOf", ()))}
