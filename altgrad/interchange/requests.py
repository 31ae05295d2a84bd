"""What a client may ask for: OpenAI's completions request, checked.

An option that is not supported is refused, unless its value asks for nothing.
"""

import json
from dataclasses import dataclass, field
from typing import Any

MAX_BODY_BYTES = 1 << 20
MAX_TEXTS = 32
MAX_NEW_TOKENS = 4096


@dataclass(frozen=True)
class Completion:
    """A checked request."""

    prompts: list[str]
    max_tokens: int = 64
    temperature: float = 0.8
    top_p: float | None = None
    top_k: int | None = None
    n: int = 1
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    stream: bool = False
    echo: bool = False
    include_usage: bool = False


class Refused(ValueError):
    """A request that cannot be honoured; the message goes to the client."""


KINDS: dict[str, tuple[type, ...]] = {
    "max_tokens": (int,),
    "temperature": (int, float),
    "top_p": (int, float),
    "top_k": (int,),
    "n": (int,),
    "seed": (int,),
    "stream": (bool,),
    "echo": (bool,),
}
NEUTRAL: dict[str, Any] = {
    "logprobs": False,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "suffix": "",
}
"""Options of OpenAI's that we lack -> the value, besides null, with which they do nothing."""
OTHERS = ("prompt", "stop", "model", "user", "best_of", "stream_options")


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object that a request's body is."""
    try:
        content = json.loads(body)
    except RecursionError:
        raise Refused("the request is nested too deeply") from None
    except ValueError as error:
        raise Refused(f"the request is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise Refused("the request must be a JSON object")
    return content


def parse(body: dict[str, Any], name: str) -> Completion:
    """A request, checked; null is as good as absent."""
    body = {key: value for key, value in body.items() if value is not None}
    _check_names(body, name)
    values = {key: _scalar(key, body[key]) for key in KINDS if key in body}
    wish = Completion(
        prompts=_texts(body.get("prompt", "\n"), "prompt"),
        stop=_texts(body.get("stop", []), "stop"),
        include_usage=_include_usage(body),
        **values,
    )
    _check_sizes(wish)
    if body.get("best_of", wish.n) != wish.n:
        raise Refused(f"'best_of' is not supported: it must be n, {wish.n}, or left out")
    return wish


def _check_names(body: dict[str, Any], name: str) -> None:
    known = {*KINDS, *NEUTRAL, *OTHERS}
    for key, value in body.items():
        if key not in known:
            raise Refused(f"{key!r} is not supported; there are {', '.join(sorted(known))}")
        if key in NEUTRAL and not _equal(value, NEUTRAL[key]):
            raise Refused(
                f"{key!r} is not supported: it must be {json.dumps(NEUTRAL[key])} or null"
            )
    if body.get("model", name) != name:
        raise Refused(f"there is no model {body['model']!r} here, only {name!r}")


def _equal(value: Any, neutral: Any) -> bool:
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)


def _scalar(key: str, value: Any) -> Any:
    kinds = KINDS[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise Refused(f"{key}={value!r} must be {' or '.join(k.__name__ for k in kinds)}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Refused(f"{key} must fit into 64 bits")
    return value


def _texts(value: Any, key: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(f"{key} must be a text or a list of texts")
    if not all(texts):
        raise Refused(f"{key} must not be empty")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise Refused(f"{key} holds half of a surrogate pair, which is no character") from None
    return texts


def _include_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options", {})
    if not isinstance(options, dict) or not options.keys() <= {"include_usage"}:
        raise Refused("stream_options may hold include_usage, nothing else")
    if "stream_options" in body and not body.get("stream"):
        raise Refused("stream_options goes with stream=true only")
    wanted = options.get("include_usage") or False
    if not isinstance(wanted, bool):
        raise Refused(f"include_usage={wanted!r} must be bool")
    return wanted


def _check_sizes(wish: Completion) -> None:
    if not wish.prompts:
        raise Refused("prompt must not be empty")
    if not 1 <= wish.max_tokens <= MAX_NEW_TOKENS:
        raise Refused(f"max_tokens={wish.max_tokens} must be 1 … {MAX_NEW_TOKENS}")
    if wish.n < 1 or wish.n * len(wish.prompts) > MAX_TEXTS:
        raise Refused(f"n must be at least 1, and at most {MAX_TEXTS} texts at once")
