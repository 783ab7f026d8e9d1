"""Holds each answer against botocore's model of the ECS API, to the letter."""

import json


# Of every service of AWS, so in no service's model.
COMMON = {
    "AccessDeniedException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnknownOperationException",
    "UnrecognizedClientException",
}


def watch(client, faults, seen):
    """Checks every answer that `client` gets from now on: puts what is wrong into `faults`, and the
    operations into `seen`."""
    model = client.meta.service_model
    known = COMMON | {shape.error_code for shape in model.error_shapes}

    def check(event_name, response_dict, **_):
        if response_dict is None:
            return
        name = event_name.split(".")[-1]
        answer = json.loads(response_dict["body"])
        if response_dict["status_code"] < 300:
            seen.add(name)
            _check(model.operation_model(name).output_shape, answer, name, faults)
        elif answer.get("__type") not in known:
            faults.append(f"{name}: no such error: {answer}")

    client.meta.events.register("response-received.ecs", check)


def _check(shape, value, path, faults):
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            return faults.append(f"{path}: {value!r} is no structure")
        for name in shape.required_members:
            if name not in value:
                faults.append(f"{path}.{name} is missing")
        for name, member in value.items():
            if name not in shape.members:
                faults.append(f"{path}.{name} is not in the model")
            else:
                _check(shape.members[name], member, f"{path}.{name}", faults)
    elif kind == "list":
        if not isinstance(value, list):
            return faults.append(f"{path}: {value!r} is no list")
        for index, member in enumerate(value):
            _check(shape.member, member, f"{path}[{index}]", faults)
    elif kind == "map":
        for name, member in value.items():
            _check(shape.value, member, f"{path}[{name!r}]", faults)
    else:
        number = (int, float)
        types = {
            "string": str,
            "integer": int,
            "long": int,
            "float": number,
            "double": number,
            "boolean": bool,
            "timestamp": number,
        }
        is_right = isinstance(value, types[kind]) and (kind == "boolean") == isinstance(value, bool)
        if not is_right:
            faults.append(f"{path}: {value!r} is no {kind}")
        elif getattr(shape, "enum", None) and value not in shape.enum:
            faults.append(f"{path}: {value!r} is none of {shape.enum}")
