"""What can be said of an outcome by reading it: names, shapes, defaults, settings, spreads.

A rule sees what one label gave for the reference and for the learner and answers with sentences
that are true of these two values, one for each thing that differs. Unlike the catalogue it needs no
guess of what was typed, and several mistakes in one unit are told one by one.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from altgrad.learn.failures import in_words
from altgrad.learn.observe import Difference, Failure, Odd, Outcomes

Rule = Callable[[str, Any, Any], Iterator[str]]
MISSING = "missing"
SHAPE_WORDS = ("dimension ", "the shape", "only one position", "the dimensions", "the first dim")


# A label that says nothing new where another has already spoken.
FOLLOWS = {
    "parameters that train": "names and shapes",
    "initial_lr of every parameter": "learning rate of every parameter",
    "learning rates when asked": "learning rate of every parameter",
    "weight decay when": "weight decay of every parameter",
    "spread of": "tensors that are zero",
    "the first loss": "tensors that are zero",
    "fields set by keyword": "fields and their defaults",
    "order of the fields": "fields and their defaults",
    "fields in their order": "fields and their defaults",
    "another format": "fields and their defaults",
    "on the meta device": "type",
}


def sentences(
    unit: str, found: list[Difference], expected: Outcomes, got: Outcomes
) -> dict[str, list[str]]:
    """Label -> what its value says by itself; labels about which nothing can be said are left out.

    A label whose complaint another has made already maps to an empty list.
    """
    said: dict[str, list[str]] = {}
    kinds: set[str] = set()
    for label in (d.label for d in found):
        if _follows(label, said):
            said[label] = []
            continue
        lines = []
        for kind, text in _about(unit, label, expected[label], got.get(label)):
            if kind not in kinds:
                lines.append(text)
                kinds.add(kind)
        if lines or any(
            k in kinds for k, _ in _about(unit, label, expected[label], got.get(label))
        ):
            said[label] = lines
    if any(isinstance(got.get(label), Failure) and lines for label, lines in said.items()):
        for lines in said.values():  # another shape is what is left of the same cause
            lines[:] = [text for text in lines if not text.startswith(SHAPE_WORDS)]
    return said


def _follows(label: str, said: dict[str, list[str]]) -> bool:
    return any(
        label.startswith(start) and any(other.startswith(first) for other in said)
        for start, first in FOLLOWS.items()
    )


def _about(unit: str, label: str, expected: Any, got: Any) -> Iterator[tuple[str, str]]:
    """(kind, sentence): of one kind only the first is said."""
    if isinstance(got, Failure):
        if text := in_words(got, unit, cached="with a cache" in label):
            yield f"{got.kind} {re.sub(r'[0-9]+', '#', got.message)[:60]}", text
        return
    for text in _told(label, expected, got):
        shape = text.startswith(SHAPE_WORDS) or re.match(r"an? .*: the (std|numbers)", text)
        yield (re.sub(r"[0-9.]+|C -> 4C|4C -> C|C -> C", "#", text) if shape else text), text


def _told(label: str, expected: Any, got: Any) -> Iterator[str]:
    for words, rule in RULES:
        if words.search(label):
            yield from rule(label, expected, got)
            return
    yield from _kind_of_value(label, expected, got)


# -- any value ---------------------------------------------------------------------------------


def _kind_of_value(label: str, expected: Any, got: Any) -> Iterator[str]:
    """Another kind of thing than a tensor, or one of another shape, dtype or device."""
    if isinstance(expected, Tensor):
        yield from _no_tensor(got) if not isinstance(got, Tensor) else _tensor(expected, got)
    elif got is None and expected is not None:
        yield "nothing comes back (None): the body ends without `return`"


def _no_tensor(got: Any) -> Iterator[str]:
    if got is None:
        yield "nothing comes back (None): the body ends without `return`"
    elif isinstance(got, list) and len(got) == 2:
        second = "None" if got[1] is None else "another value"
        yield (
            f"a tuple of two values comes back, a tensor and {second}; the contract returns the "
            "tensor alone"
        )
    else:
        yield f"a {type(got).__name__} comes back where a tensor is wanted"


def _tensor(expected: Tensor, got: Tensor) -> Iterator[str]:
    if expected.shape != got.shape:
        yield from _shape(expected, got)
    elif expected.device != got.device:
        yield f"the result is on {got.device}, wanted on {expected.device}"
    elif expected.dtype != got.dtype:
        yield f"the result is {_dtype(got)}; it is {_dtype(expected)} here: cast it back"


def _shape(expected: Tensor, got: Tensor) -> Iterator[str]:
    mine, theirs = list(got.shape), list(expected.shape)
    if mine == theirs[1:]:
        yield (
            f"the first dimension is gone: the shape is {mine}, wanted {theirs}: "
            f"one value of the pair comes back alone"
        )
    elif len(mine) == len(theirs) == 3 and mine[1] == 1 and theirs[1] > 1:
        yield f"only one position comes back, shape {mine}; all {theirs[1]} are wanted: {theirs}"
    elif sorted(mine) == sorted(theirs):
        yield f"the dimensions are in another order: shape {mine}, wanted {theirs}"
    elif len(mine) == len(theirs):
        wrong = [i for i in range(len(mine)) if mine[i] != theirs[i]]
        place = " and ".join(str(i) for i in wrong)
        yield f"dimension {place} has another size: shape {mine}, wanted {theirs}"
    else:
        yield f"the shape is {mine}, wanted {theirs}"


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _unchanged(label: str, expected: Any, got: Any) -> Iterator[str]:
    if got is False:
        what = "the caller's prompt" if "prompt" in label else "the input"
        yield f"{what} itself is changed in place (+=, *=, append, …_): make a new one"


def _prompt(label: str, expected: Any, got: Any) -> Iterator[str]:
    if isinstance(got, list) and got[: len(expected)] == expected and len(got) > len(expected):
        yield "the caller's list is changed: the prompt grows by what is drawn; work on a copy"


def _random(label: str, expected: Any, got: Any) -> Iterator[str]:
    if not (isinstance(got, list) and isinstance(expected, list) and len(got) == 2):
        return
    if got[0] and not expected[0]:
        yield "the same input gives another output in evaluation: dropout must ask self.training"
    if got[1] and not expected[1]:
        yield "the same input gives another output in training: there is dropout in it"
    if expected[1] and not got[1]:
        yield "nothing is dropped in training: the dropout is not applied"


def _repeats(label: str, expected: Any, got: Any) -> Iterator[str]:
    if got is False:
        yield (
            "the same input gives another output each time: a dropout is left in, and this model "
            "has none"
        )


def _drawn_twice(label: str, expected: Any, got: Any) -> Iterator[str]:
    if got is False:
        yield "one seed gives two different texts: the generator is not used for drawing"


def _own_base(label: str, expected: Any, got: Any) -> Iterator[str]:
    if isinstance(got, list) and got[:1] == [False]:
        yield (
            "another Linear is kept: self.base is the base itself, with its own weights (a copy "
            "doubles the memory)"
        )


def _first_b(label: str, expected: Any, got: Any) -> Iterator[str]:
    if isinstance(got, Tensor) and got.shape == expected.shape and bool(got.any()):
        yield "B does not start at zero: with B = 0 the model starts as the base"


def _kept(label: str, expected: Any, got: Any) -> Iterator[str]:
    """What a checkpoint holds under one name, as a list of one."""
    what = got[0] if isinstance(got, list) and len(got) == 1 else None
    if what == MISSING:
        yield f"nothing is {label}"
    elif isinstance(what, Odd):
        yield f"a {what.kind} itself is {label}: what its state_dict() gives is wanted"


def _own_numbers(label: str, expected: Any, got: Any) -> Iterator[str]:
    if got is False:
        yield "random numbers of its own are drawn: those that are given decide"


def _in_bfloat16(label: str, expected: Any, got: Any) -> Iterator[str]:
    if isinstance(got, str):
        yield f"a bfloat16 model gives {got}: what was computed in float32 is not cast back"


# -- modules: names, shapes, attributes, refusals ----------------------------------------------


def _names_and_shapes(label: str, expected: Any, got: Any) -> Iterator[str]:
    if not (isinstance(expected, dict) and isinstance(got, dict)):
        return
    missing = [n for n in expected if n not in got]
    extra = [n for n in got if n not in expected]
    renamed = [(m, e) for m in missing for e in extra if expected[m] == got[e]]
    for old, new in renamed[:1]:
        yield f"{_stem(old)} is called {_stem(new)} in yours: the name is part of the contract"
    gone = {n for pair in renamed for n in pair}
    yield from _extra([n for n in extra if n not in gone])
    missing = [n for n in missing if n not in gone]
    if missing:
        yield f"missing: {_few(missing)} (an instance, Name(config), kept on self?)"
    for name in expected:
        if name in got and expected[name] != got[name]:
            yield _other_shape(name, expected[name], got[name])
            return


def _extra(extra: list[str]) -> Iterator[str]:
    biases = sorted({_stem(n).split(".")[-1] for n in extra if n.endswith(".bias")})
    if biases:
        wanted = "bias=config.bias" if any(n.startswith("ln") for n in biases) else "bias=False"
        verb = "has a bias" if len(biases) == 1 else "have biases"
        yield f"{_few(biases)} {verb} that the contract does not have: {wanted}"
    others = [n for n in extra if not n.endswith(".bias")]
    if others:
        yield (
            f"not in the contract, and saved with the model: {_few(others)} (a table or mask is a "
            "buffer with persistent=False)"
        )


def _stem(name: str) -> str:
    return name.removesuffix(".weight").removesuffix(".bias")


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (" …" if len(names) > 4 else "")


def _other_shape(name: str, wanted: list[int], mine: list[int]) -> str:
    text = f"{name} is {mine}, wanted {wanted}"
    if sorted(wanted) == sorted(mine):
        return f"{text}: in and out are exchanged; Linear(a, b) has a weight of shape (b, a)"
    if name.endswith(("c_k.weight", "c_v.weight")):
        return f"{text}: keys and values have K = n_kv_head heads, so K·D outputs"
    if name.endswith(("c_fc.weight", "c_proj.weight")):
        return f"{text}: the inner width is 4C"
    return text


def _attributes(label: str, expected: Any, got: Any) -> Iterator[str]:
    if not isinstance(got, dict):
        return
    for name, value in expected.items():
        mine = got.get(name, MISSING)
        if mine == MISSING:
            yield f"self.{name} is never set"
        elif mine != value:
            yield f"self.{name} is {mine}, wanted {value}{ATTRIBUTE_HINTS.get(name, '')}"


ATTRIBUTE_HINTS = {
    "head_dim": ": head_dim = C / H",
    "dropout": ": config.dropout, the number",
    "p": ": the Dropout takes config.dropout",
}


def _refusals(label: str, expected: Any, got: Any) -> Iterator[str]:
    case = re.sub("^(does it refuse|refuses) ", "", label)
    if got is False:
        cure = "raise ValueError" if label.startswith("does") else "assert it, or raise ValueError"
        yield f"{case} is not refused: {cure}"
    elif got is True and expected is False:
        yield f"{case} is refused and need not be"


def _listed(label: str, expected: Any, got: Any) -> Iterator[str]:
    """Names where only these names are wanted."""
    if not (isinstance(got, list) and all(isinstance(name, str) for name in got)):
        return
    if foreign := [name for name in got if name.startswith("a ")]:
        yield f"{label}: {foreign[0]} comes back: the model's parameters themselves are wanted"
        return
    missing, extra = ([n for n in a if n not in b] for a, b in ((expected, got), (got, expected)))
    if missing:
        yield f"{label}: {_few(missing)} should be there and {_is(missing)} not"
    if extra:
        yield f"{label}: {_few(extra)} should not be there"


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _group(label: str, expected: Any, got: Any) -> Iterator[str]:
    """Settings of one group of an optimiser."""
    if not isinstance(got, dict):
        return
    for name, wanted in expected.items():
        if name not in got:
            yield f"the group has no {name}: it belongs to the defaults that torch's Optimizer gets"
        elif got[name] != wanted:
            mine, right = _plain_list(got[name]), _plain_list(wanted)
            yield f"the group's {name} is {mine}, wanted {right} ({label.removeprefix('what a ')})"
    extra = [name for name in got if name not in expected]
    if extra:
        yield f"not in the contract: {_few(extra)}"


def _kind(label: str, expected: Any, got: Any) -> Iterator[str]:
    if not (isinstance(expected, str) and isinstance(got, str)):
        return
    cure = " (.item())" if got == "Tensor" else ""
    yield f"a {got} comes back where a {expected} is wanted{cure}"


def _layer(label: str, expected: Any, got: Any) -> Iterator[str]:
    yield f"layer_idx: {got}, wanted {expected}: each layer must know its own place"


def _blocks(label: str, expected: Any, got: Any) -> Iterator[str]:
    if got == 1:
        yield "all layers are the same object: one block, listed several times"
    else:
        yield f"there are {got} distinct blocks, wanted {expected}"


def _parts(label: str, expected: Any, got: Any) -> Iterator[str]:
    names = expected if isinstance(expected, dict) else dict(enumerate(expected))
    mine = got if isinstance(got, dict) else dict(enumerate(got))
    for key, kind in names.items():
        if mine.get(key) != kind:
            own = mine.get(key, MISSING)
            hint = (
                f": the class itself is kept, not an instance: {kind}(config)"
                if own == "type"
                else ""
            )
            yield f"the part that should be a {kind} is a {own}{hint}"


def _eps(label: str, expected: Any, got: Any) -> Iterator[str]:
    yield f"eps of the norms is {got[0]:g}, wanted {expected[0]:g}"


def _trains(label: str, expected: Any, got: Any) -> Iterator[str]:
    for name in [n for n in got if n not in expected][:1]:
        if not name.endswith("bias"):
            yield f"{name} is a parameter and would be trained"
    for name in [n for n in expected if n not in got][:1]:
        yield f"{name} is no parameter that trains (requires_grad, or not registered)"


def _buffers(label: str, expected: Any, got: Any) -> Iterator[str]:
    for name, shape in expected.items():
        if name not in got:
            yield (
                f"{name} is no buffer: register_buffer, so that it follows the model to its device"
            )
        elif got[name] != shape:
            why = ""
            if got[name][:1] == shape[:1] and got[name][2:] == shape[2:]:
                why = ": tables of 10·S positions"
            elif got[name][:2] == shape[:2]:
                why = ": D/2 columns, D = C / H per head"
            yield f"{name} is {got[name]}, wanted {shape}{why}"


# -- the configuration -------------------------------------------------------------------------


def _fields(label: str, expected: Any, got: Any) -> Iterator[str]:
    if not isinstance(got, dict):
        return
    untyped = got.get("without a type", [])
    for name, value in expected.items():
        if name in untyped:
            continue
        if name not in got:
            yield f"the field {name} is missing"
        elif got[name] != value:
            yield f"{name} is {got[name]} by default; the contract says {value}"
    if untyped:
        yield (
            f"{_few(untyped)} without a type: a dataclass makes fields of annotated names only "
            f"({untyped[0]}: int = …)"
        )
    for name in got:
        if name not in expected and name != "without a type":
            yield f"{name} is no field of the contract"


def _order(label: str, expected: Any, got: Any) -> Iterator[str]:
    if sorted(expected) == sorted(got):
        yield (
            f"the order is {', '.join(map(str, got))}; the contract's is "
            f"{', '.join(map(str, expected))}"
        )


# -- spreads -----------------------------------------------------------------------------------

NORMAL, UNIFORM = math.sqrt(2 / math.pi), math.sqrt(3) / 2  # mean |x| in units of std


def _spread(label: str, expected: Any, got: Any) -> Iterator[str]:
    """Statistics of one tensor, or of several by name."""
    if not isinstance(got, dict):
        return
    if "std" in expected:
        yield from _one_spread(label.removeprefix("weights of "), expected, got)
        return
    if "when made" in label and _as_torch_makes_them(got):
        yield "the weights are as torch makes them: init_weights() is not called at the end"
        return
    kinds: dict[str, list[str]] = {}
    for name in expected:
        for text in _one_spread("@", expected[name], got.get(name, {})):
            kinds.setdefault(re.sub(r"\d\.\d+(e-\d+)?", "#", text), []).append(f"{name}|{text}")
    for texts in kinds.values():
        name, _, text = texts[0].partition("|")
        more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
        yield text.replace("@", f"{name}{more}")
    extra = [n for n in got if n not in expected]
    if extra:
        yield f"not zero, and should be: {_few(extra)}"


def _as_torch_makes_them(got: dict[str, Any]) -> bool:
    """Linears uniform and an embedding at N(0, 1): torch's own start."""
    linears = [s for name, s in got.items() if ".h." in name]
    uniform = all(abs(s["tails"] - UNIFORM) < 0.02 for s in linears)
    return uniform and any(abs(s["std"] - 1) < 0.1 for s in got.values())


def _one_spread(what: str, wanted: dict, mine: dict) -> Iterator[str]:
    a, b = wanted["std"], mine.get("std", 0.0)
    if b == 0 and a != 0:
        yield f"{what}: all numbers are equal (a constant, or never set); the std should be {a:.3g}"
        return
    if b != b:
        yield f"{what}: never drawn: after to_empty it is raw memory"
        return
    flat = abs(mine["tails"] - UNIFORM) < 0.02 and abs(wanted["tails"] - NORMAL) < 0.02
    if flat:
        yield f"{what}: the numbers are uniform with std {b:.3g}, wanted normal with std {a:.3g}"
    elif abs(b / a - 1) > 0.05:
        hint = ": the variance, std², is given for the std" if abs(b / a**2 - 1) < 0.05 else ""
        yield f"{what}: the std is {b:.3g}, wanted {a:.3g}{hint}"
    elif mine["centre"] != wanted["centre"]:
        yield f"{what}: the numbers are not centred on zero"


def _zeros(label: str, expected: Any, got: Any) -> Iterator[str]:
    for name in _by_kind([n for n in expected if n not in got]):
        yield f"{name} does not start at zero"
    for name in _by_kind([n for n in got if n not in expected]):
        yield f"{name} starts at zero and should not"


def _by_kind(names: list[str]) -> list[str]:
    """`transformer.h.0.mlp.c_proj.weight` of all layers as `mlp.c_proj of every block`."""
    kinds = [re.sub(r"^transformer\.h\.\d+\.(.*)\.weight$", r"\1 of the blocks", n) for n in names]
    return list(dict.fromkeys(k.removesuffix(".weight") for k in kinds))


def _bias(label: str, expected: Any, got: Any) -> Iterator[str]:
    yield "a Linear's bias is not zeroed"


def _finite(label: str, expected: Any, got: Any) -> Iterator[str]:
    if got is False:
        yield (
            "some weights are never drawn: after `to_empty` they are raw memory "
            "(is _init_weights applied to every module?)"
        )


# -- devices, tables ---------------------------------------------------------------------------


def _device(label: str, expected: Any, got: Any) -> Iterator[str]:
    yield f"{label}: on {got}, wanted {expected}: every tensor that is made takes device=device"


def _own_device(label: str, expected: Any, got: Any) -> Iterator[str]:
    if isinstance(got, str):
        yield f"a model on {expected} is said to be on {got}: ask the model, whose weights know"
    else:
        yield "no device comes back: the weight's .device is wanted"


def _type(label: str, expected: Any, got: Any) -> Iterator[str]:
    if isinstance(got, str):
        own = "a string" if got == "str" else f"a {got}"
        yield f"{own} comes back; a torch.{expected} is wanted (the weight's .device)"


def _dtypes(label: str, expected: Any, got: Any) -> Iterator[str]:
    mine = got[0] if isinstance(got, list) else got
    wanted = expected[0] if isinstance(expected, list) else expected
    yield (
        f"the result is {str(mine).removeprefix('torch.')}; it is "
        f"{str(wanted).removeprefix('torch.')} here: cast it to that dtype"
    )


def _shapes(label: str, expected: Any, got: Any) -> Iterator[str]:
    if isinstance(got, list) and len(got) == len(expected):
        for mine, wanted in zip(got, expected, strict=True):
            if mine != wanted:
                yield f"the shape is {mine}, wanted {wanted}"
                return


# -- optimisers --------------------------------------------------------------------------------


def _members(label: str, expected: Any, got: Any) -> Iterator[str]:
    """What every parameter gets: told once for each group of parameters that differ alike."""
    if not (isinstance(got, dict) and got.keys() == expected.keys()):
        return
    if all(mine == [MISSING] * len(mine) for mine in got.values()):
        yield f"no group has {label.removesuffix(' of every parameter')}"
        return
    alike: dict[str, list[str]] = {}
    for name, wanted in expected.items():
        if got[name] != wanted and not _near(got[name], wanted):
            alike.setdefault(_member(label, wanted, got[name]), []).append(name)
    for text, names in list(alike.items())[:3]:
        yield f"{_few(_by_kind(names))}: {text}"


def _near(a: list, b: list) -> bool:
    pairs = zip(a, b, strict=False)
    numbers = all(isinstance(x, float | int) for x in [*a, *b])
    return numbers and len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-9) for x, y in pairs)


def _member(label: str, wanted: list, mine: list) -> str:
    what = label.removesuffix(" of every parameter").replace("learning rates", "learning rate")
    if not mine:
        return "in no optimizer"
    if len(mine) > len(wanted):
        return "in more than one group: it would be moved twice"
    return f"{what} {_plain(mine[0])}, wanted {_plain(wanted[0])}"


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _settings(label: str, expected: Any, got: Any) -> Iterator[str]:
    for name, wanted in expected.items():
        mine = got.get(name, []) if isinstance(got, dict) else []
        if mine and wanted and mine[0] != wanted[0]:
            kind = label.removeprefix("settings of ")
            yield f"{kind}'s {name} is {_plain_list(mine[0])}, wanted {_plain_list(wanted[0])}"


def _plain_list(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else _plain(value)


# -- generation --------------------------------------------------------------------------------


def _tokens(label: str, expected: Any, got: Any) -> Iterator[str]:
    if isinstance(expected, Tensor) and isinstance(got, Tensor):
        yield from _drawn_tensor(expected, got)
    if not (isinstance(got, list) and isinstance(expected, list)):
        return
    if any(isinstance(t, Tensor) for t in got):
        yield "tensors come out; an int is wanted (.item())"
    elif len(got) != len(expected):
        few = "too few" if len(got) < len(expected) else "too many"
        yield (
            f"{abs(len(got) - len(expected))} token(s) {few}: {len(got)} for "
            f"max_tokens = {len(expected)}"
        )


def _reached(label: str, expected: Any, got: Any) -> Iterator[str]:
    """Different tokens over many seeds: their number is not the length of a text."""
    if isinstance(got, list) and len(got) == 1 < len(expected):
        yield "every seed draws the same token: the seed, or the generator, does not reach the draw"


def _drawn_tensor(expected: Tensor, got: Tensor) -> Iterator[str]:
    if got.shape != expected.shape and torch.equal(expected[:, -got.size(1) :], got):
        yield "only the new tokens come back; the prompt comes first: (B, T + max_new_tokens)"
    elif got.shape != expected.shape:
        yield from _shape(expected, got)


def _global_generator(label: str, expected: Any, got: Any) -> Iterator[str]:
    if got is False:
        yield (
            "torch's global generator is used or seeded: draw from a torch.Generator of your own "
            "(torch.manual_seed changes what everybody else draws)"
        )


RULES: list[tuple[re.Pattern[str], Rule]] = [
    (re.compile(pattern), rule)
    for pattern, rule in [
        (r"^names and shapes", _names_and_shapes),
        (r"^attributes", _attributes),
        (r"^refuses |^does it refuse ", _refusals),
        (r"^names in |^parameters for ", _listed),
        (r"^what a group keeps", _group),
        (r"^kind of |^is it a float", _kind),
        (r"^layer_idx", _layer),
        (r"^distinct blocks", _blocks),
        (r"^kinds of its parts", _parts),
        (r"^eps of", _eps),
        (r"^parameters that train", _trains),
        (r"^buffers", _buffers),
        (r"^fields and their defaults", _fields),
        (r"^order of", _order),
        (r"^weights of|^spread of", _spread),
        (r"^tensors that are zero", _zeros),
        (r"^bias of a Linear", _bias),
        (r"^all weights are numbers", _finite),
        (r"^device", _device),
        (r"^on the ", _own_device),
        (r"^type$", _type),
        (r"^dtypes?\b", _dtypes),
        (r"^shapes$", _shapes),
        (r"of every parameter|^learning rates|^weight decay when", _members),
        (r"^settings of", _settings),
        (r"drawn twice", _drawn_twice),
        (r"the same twice", _repeats),
        (r"^are the given random numbers used", _own_numbers),
        (r"^is the base itself kept", _own_base),
        (r"^B at first", _first_b),
        (r"^kept under \w+$", _kept),
        (r"bfloat16 model", _in_bfloat16),
        (r"^random in", _random),
        (r"left as it was$", _unchanged),
        (r"^the prompt left", _prompt),
        (r"^torch's global generator", _global_generator),
        (r"^first tokens reached", _reached),
        (r"tokens|^greedy|^number of tokens|^kinds of what", _tokens),
    ]
]
