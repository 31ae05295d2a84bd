"""Torch's commonest errors, said with the names of the dimensions.

The probes use sizes of which (nearly) no two are equal, so that a size in a message is a letter of
the contract: 6 is H, 2 is K. A sentence states what the message says and what usually leads there;
where no pattern fits there is no sentence, and the message is shown as it is.
"""

import re
from collections.abc import Callable

from altgrad.learn.observe import Failure

BATCH_AND_TIME = {2: "B", 7: "T", 14: "B·T"}
WIDTHS = {48: "C", 192: "4C", 37: "V"}
HEADS = {6: "H", 8: "D", 4: "D/2", 3: "H/K", 12: "B·H", 42: "T·H"}
LETTERS = BATCH_AND_TIME | WIDTHS | HEADS | {16: "S", 160: "10·S"}
# In attention the heads are compared with each other, never with the batch.
IN_ATTENTION = LETTERS | {2: "K", 16: "K·D"}


def in_words(failure: Failure, unit: str, *, cached: bool = False) -> str | None:
    """A sentence about this exception in this unit; None where no pattern fits.

    With a cache the sequence comes in pieces of 1 to 6 positions: small sizes are then no letters.
    """
    letters = IN_ATTENTION if "Attention" in unit else LETTERS
    if cached:
        letters = {size: letter for size, letter in letters.items() if size > 6}
    for pattern, say in PATTERNS:
        if match := re.search(pattern, f"{failure.kind}: {failure.message}"):
            text = say(match, letters)
            return f"with a cache, {text}" if cached else text
    return None


def _letter(number: str | int, letters: dict[int, str]) -> str:
    return f"{number} ({letters[int(number)]})" if int(number) in letters else str(number)


def _sizes(text: str, letters: dict[int, str]) -> str:
    """`14x48` or `2, 7` with the letters beside."""
    numbers = re.findall(r"\d+", text)
    named = [letters.get(int(n), n) for n in numbers]
    if len(numbers) > 2 and numbers[0] == "2":
        named[0] = "B"
    return f"({', '.join(numbers)}) = ({', '.join(named)})"


Say = Callable[[re.Match[str], dict[int, str]], str]


def _mismatch(match: re.Match[str], letters: dict[int, str]) -> str:
    a, b, dimension = match.groups()
    if dimension == "0":
        letters = letters | {2: "B"}
    names = {letters.get(int(a)), letters.get(int(b))}
    text = (
        f"two tensors that are combined have {_letter(a, letters)} and {_letter(b, letters)} in "
        f"dimension {dimension}"
    )
    return text + _why_mismatch(names)


def _why_mismatch(names: set[str | None]) -> str:
    if names == {"H", "K"}:
        return ": k and v have K heads; repeat_interleave(H // K, dim=1) gives each H"
    if names == {"C", "T"} or names == {"D", "H"}:
        return ": a dimension was lost on the way (a mean or sum without keepdim=True?)"
    if names == {"T", "10·S"}:
        return ": the whole table meets T positions; cut it to start … start + T"
    if names == {"T", "H"}:
        return (
            ": time and heads are in each other's place; RoPE's tables are (1, T, 1, D/2), for "
            "(B, T, heads, D), so rotate before transpose(1, 2)"
        )
    return ""


def _einsum(match: re.Match[str], letters: dict[int, str]) -> str:
    """einsum names a subscript, a size and the size that it had before."""
    subscript, size, before = match.groups()
    mine, seen = _letter(size, letters), _letter(before, letters)
    text = f"einsum's {subscript} is {seen} in one tensor and {mine} in another"
    return text + _why_mismatch({letters.get(int(size)), letters.get(int(before))})


def _matrices(match: re.Match[str], letters: dict[int, str]) -> str:
    left, right = match.groups()
    return (
        f"a matrix product of {_sizes(left, letters)} and {_sizes(right, letters)}: the inner two "
        "sizes must be equal (a Linear with in and out exchanged, or an input of another width?)"
    )


def _batched(match: re.Match[str], letters: dict[int, str]) -> str:
    wanted, got = match.groups()
    a, b = re.findall(r"\d+", wanted)[1], re.findall(r"\d+", got)[1]
    return (
        f"a matrix product whose inner sizes are {_letter(a, letters)} and {_letter(b, letters)}: "
        "the second factor has to be transposed first (q @ k.transpose(-2, -1), kᵀ)"
    )


def _view(match: re.Match[str], letters: dict[int, str]) -> str:
    shape, size = match.groups()
    return f"view to {_sizes(shape, letters)} is asked of {size} numbers, which do not fill it"


def _attribute(match: re.Match[str], letters: dict[int, str]) -> str:
    owner, name = match.groups()
    if owner == "NoneType":
        return (
            f"something is None where .{name} is asked of it: a function that ends without "
            "`return`, a parameter without a gradient, or an argument that may be None (kv_cache)"
        )
    return f"{owner} has no .{name}: was it ever set (self.{name} = …), and under this name?"


def _said(text: str) -> Say:
    return lambda match, letters: text.format(*match.groups())


PATTERNS: list[tuple[str, Say]] = [
    (
        r"subscript (\w) has size (\d+) for operand \d+ which does not broadcast with previously "
        r"seen size (\d+)",
        _einsum,
    ),
    (
        r"size of tensor a \((\d+)\) must match .* b \((\d+)\) at non-singleton dimension (\d+)",
        _mismatch,
    ),
    (
        r"view size is not compatible",
        _said(
            "view of a tensor that is not contiguous: transpose moves no memory, "
            "so call .contiguous() "
            "before .view, or use .reshape"
        ),
    ),
    (r"mat1 and mat2 shapes cannot be multiplied \(([\dx]+) and ([\dx]+)\)", _matrices),
    (r"batch2 tensor to be: \[([\d, ]+)\] but got: \[([\d, ]+)\]", _batched),
    (r"shape '\[([\d, -]+)\]' is invalid for input of size (\d+)", _view),
    (
        r"Expected target size \[([\d, ]+)\], got \[([\d, ]+)\]",
        _said(
            "cross_entropy takes (B·T, V) and (B·T,): flatten logits and targets "
            "first (for (B, T, V) "
            "it takes dimension 1, T, for the classes)"
        ),
    ),
    (
        r"list is not a Module subclass",
        _said(
            "a plain list of modules: its parameters are not found, so torch refuses it here; "
            "nn.ModuleList([...])"
        ),
    ),
    (
        r"Target (-?\d+) is out of bounds",
        _said(
            "the loss meets a target of {}, which is the mark for positions that do not count: "
            "ignore_index=-1"
        ),
    ),
    (
        r"modified by an inplace operation|leaf Variable .* used in an in-place",
        _said(
            "a tensor that the backward pass needs is changed in place (+=, *=, …_): write "
            "x = x + …, which makes a new one"
        ),
    ),
    (r"'(\w+)' object has no attribute '(\w+)'", _attribute),
    (
        r"unsupported operand type\(s\) for .*'NoneType'",
        _said(
            "something that is None is calculated with: a parameter without a gradient, or a "
            "function that ends without `return`"
        ),
    ),
    (
        r"NameError: name '(\w+)' is not defined",
        _said("{} is not defined: an import is missing, or the name is written otherwise"),
    ),
    (
        r"selected index k out of range",
        _said(
            "topk is asked for more than there is: a top_k larger than the "
            "vocabulary means all of it, "
            "min(top_k, V)"
        ),
    ),
    (
        r"index out of range in self",
        _said(
            "an embedding is asked for a row it does not have: an id of V or more, "
            "or a position of "
            "S or more (longer than block_size: crop to the last S tokens)"
        ),
    ),
    (
        r"sequence is longer than block_size",
        _said("the model is given more than block_size tokens: crop to the last S"),
    ),
    (
        r"Expected all tensors to be on the same device",
        _said("tensors on two devices meet: every tensor that is made takes device=device"),
    ),
    (
        r"probability tensor contains either",
        _said(
            "the probabilities contain NaN, infinity or negative numbers: a division by zero (a "
            "temperature of 0 means the likeliest token), or a softmax of -inf only"
        ),
    ),
    (
        r"arange\(\) received an invalid .*device=(Parameter|Tensor)",
        _said("what should be a device is a {}: get_device returns the weight's .device"),
    ),
    (r"unexpected keyword argument '(\w+)'", _said("there is no argument or field {}")),
    (
        r"same dtype|expected scalar type|dtype .* and .* must",
        _said(
            "tensors of two dtypes meet: what is made inside takes x's "
            "(dtype=x.dtype, .to(x.dtype))"
        ),
    ),
    (
        r"takes (\d+) positional arguments? but (\d+) w",
        _said("a function that takes {} arguments (self counts) is given {}"),
    ),
    (r"missing (\d+) required positional arguments?: (.*)", _said("an argument is missing: {1}")),
    (
        r"(not enough|too many) values to unpack \(expected (\d+)",
        _said("{} values come back where {} are unpacked"),
    ),
    (
        r"cannot unpack non-iterable (\w+) object",
        _said(
            "one {} is unpacked into several names: an argument in another's place (in order: x, "
            "cos_sin, kv_cache), or a function that returns a single value"
        ),
    ),
    (
        r"cannot assign .* to parameter",
        _said(
            "a parameter is replaced by a plain tensor: fill it in place under torch.no_grad(), or "
            "wrap it in nn.Parameter"
        ),
    ),
    (
        r"cannot assign module before Module.__init__",
        _said("super().__init__() has to come before the first module is assigned"),
    ),
    (
        r"bool value of Tensor with more than one value",
        _said(
            "a whole tensor is asked whether it is true: compare a number, or use .any() / .all()"
        ),
    ),
]
