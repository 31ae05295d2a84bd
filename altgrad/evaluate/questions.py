"""An example of a task as token rows, of which the model has to find the right one.

| kind              | rows                                | scored                      |
|-------------------|-------------------------------------|-----------------------------|
| multiple_choice   | shots + question + each choice      | what the rows do not share  |
| schema            | shots + each context + continuation | the continuation            |
| language_modeling | shots + context + continuation      | the continuation            |

Of several rows the right one must have the smallest mean loss; of a single row every scored token
must be the likeliest.

The protocol is DCLM's as nanochat carries it out (karpathy/nanochat, nanochat/core_eval.py): the
examples are shuffled with seed 1337, the few-shot examples are drawn without replacement with seed
1234 + the example's number, and a text starts with the end-of-text token where there is one.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from altgrad.evaluate.bundle import Task

SHUFFLE_SEED = 1337
SHOTS_SEED = 1234
Item = dict[str, Any]


class Encoder(Protocol):
    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class Row:
    """Token ids, of which those from `start` on are scored.

    The answer may begin earlier, at `answer`, where it shares tokens with the other answers.
    """

    tokens: tuple[int, ...]
    start: int
    answer: int | None = None

    @property
    def first(self) -> int:
        """The first token whose loss is wanted."""
        return self.start if self.answer is None else self.answer


@dataclass(frozen=True)
class TaskExample:
    """The rows of one example; `gold` is the right one, None if every token must be right.

    `characters` is the length of each choice, where rows are choices.
    """

    rows: tuple[Row, ...]
    gold: int | None
    characters: tuple[int, ...] = ()


def shuffled(items: Sequence[Item]) -> list[Item]:
    """The order in which examples are asked; the first n are a random sample."""
    items = list(items)
    random.Random(SHUFFLE_SEED).shuffle(items)
    return items


def shots_for(task: Task, items: Sequence[Item], index: int) -> list[Item]:
    """The few-shot examples of number `index`, never itself."""
    others = [i for i in range(len(items)) if i != index]
    drawn = random.Random(SHOTS_SEED + index).sample(others, min(task.shots, len(others)))
    return [items[i] for i in drawn]


def ask(
    task: Task, items: Sequence[Item], index: int, tokenizer: Encoder, *, first: int | None = None
) -> TaskExample:
    """Example number `index` of the shuffled `items`, with its shots, as rows of tokens.

    `first` is the token that starts a text. Raises ValueError for a character that the tokenizer
    does not know.
    """
    texts = TEXTS[task.kind](task, items[index], shots_for(task, items, index))
    begin = [] if first is None else [first]
    rows = [begin + ids for ids in encode_together(texts, tokenizer)]
    return QUESTIONS[task.kind](rows, items[index])


def encode_together(texts: Sequence[str], tokenizer: Encoder) -> list[list[int]]:
    """The ids of each text; what the texts share at the beginning is encoded once.

    The cut falls before a space that follows something else than white space, where every
    byte-pair pattern in use starts a new word. A tokenizer that treats the beginning of what it is
    given specially (a space put in front) gives other ids there, and gets the texts whole.
    """
    shared = texts[0][: common_prefix(texts)]
    cut = shared.rfind(" ")
    while cut > 0 and shared[cut - 1].isspace():
        cut = shared.rfind(" ", 0, cut)
    if cut <= 0 or len(texts) == 1:
        return [tokenizer.encode(text) for text in texts]
    head = tokenizer.encode(shared[:cut])
    rows = [head + tokenizer.encode(text[cut:]) for text in texts]
    if rows[0] == tokenizer.encode(texts[0]):
        return rows
    return [tokenizer.encode(text) for text in texts]


# -- texts --------------------------------------------------------------------------------------


def _choice_texts(task: Task, item: Item, shots: Sequence[Item]) -> list[str]:
    """Last the context alone, which says where the answers begin."""
    before = "".join(f"{s['query']}{task.delimiter}{s['choices'][s['gold']]}\n\n" for s in shots)
    context = f"{before}{item['query']}{task.delimiter}"
    return [*(context + choice for choice in item["choices"]), context.rstrip()]


def _schema_texts(task: Task, item: Item, shots: Sequence[Item]) -> list[str]:
    before = "".join(
        f"{s['context_options'][s['gold']]}{task.delimiter}{s['continuation']}\n\n" for s in shots
    )
    return [
        f"{before}{context}{task.delimiter}{item['continuation']}"
        for context in item["context_options"]
    ]


def _modeling_texts(task: Task, item: Item, shots: Sequence[Item]) -> list[str]:
    """Without and with the continuation; white space around a context is left out."""
    before = "".join(
        f"{s['context'].strip()}{task.delimiter}{s['continuation']}\n\n" for s in shots
    )
    open_end = f"{before}{item['context'].strip()}{task.delimiter}"
    return [open_end.strip(), open_end + item["continuation"]]


TEXTS: dict[str, Callable[[Task, Item, Sequence[Item]], list[str]]] = {
    "multiple_choice": _choice_texts,
    "schema": _schema_texts,
    "language_modeling": _modeling_texts,
}


# -- rows ---------------------------------------------------------------------------------------


def _choice_rows(rows: list[list[int]], item: Item) -> TaskExample:
    *rows, context = rows
    # One token earlier where a choice is the beginning of another: each must score something.
    start = max(1, min(common_prefix(rows), min(len(row) for row in rows) - 1))
    answer = max(1, min(start, len(context)))
    characters = tuple(len(choice) for choice in item["choices"])
    found = tuple(Row(tuple(row), start, answer) for row in rows)
    return TaskExample(found, item["gold"], characters)


def _schema_rows(rows: list[list[int]], item: Item) -> TaskExample:
    shared = common_prefix([row[::-1] for row in rows])
    return _question(rows, [len(row) - shared for row in rows], item["gold"])


def _modeling_rows(rows: list[list[int]], item: Item) -> TaskExample:
    return _question(rows[1:], [common_prefix(rows)], None)


QUESTIONS: dict[str, Callable[[list[list[int]], Item], TaskExample]] = {
    "multiple_choice": _choice_rows,
    "schema": _schema_rows,
    "language_modeling": _modeling_rows,
}


def _question(rows: list[list[int]], starts: list[int], gold: int | None) -> TaskExample:
    # Nothing precedes a text's first token, so it cannot be scored.
    pairs = zip(rows, starts, strict=True)
    return TaskExample(tuple(Row(tuple(row), max(start, 1)) for row, start in pairs), gold)


def common_prefix(rows: Sequence[Any]) -> int:
    """How many leading elements all rows share: the first and last in order differ earliest."""
    first, last = min(rows), max(rows)
    for i, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return i
    return min(len(first), len(last))


def fit(question: TaskExample, block_size: int) -> TaskExample:
    """Cut the context from the left so that the rows fit into the model.

    Choices of one question lose the same tokens, so they keep the same context. An answer longer
    than `block_size` is scored on as much as fits.
    """
    excess = [max(0, len(row.tokens) - 1 - block_size) for row in question.rows]
    if not any(excess):
        return question
    together = len({row.start for row in question.rows}) == 1
    cuts = [max(excess)] * len(excess) if together else excess
    rows = zip(question.rows, cuts, strict=True)
    return replace(question, rows=tuple(_cut(row, cut, block_size) for row, cut in rows))


def _cut(row: Row, excess: int, block_size: int) -> Row:
    drop = min(excess, row.start - 1)
    answer = None if row.answer is None else max(1, row.answer - drop)
    return Row(row.tokens[drop:][: block_size + 1], row.start - drop, answer)
