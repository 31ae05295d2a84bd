"""Questions to answers with one model: batched, the shared beginning of the choices computed once.

Questions whose rows share a beginning of the same length (rounded down to a multiple of `GRAIN`)
go together: one pass over the beginnings fills a KV cache, each row of the cache is repeated for
its choices, and a second pass runs the remaining tokens, padded on the right, where padding cannot
be seen. Other rows are sorted by length and run whole. The head runs only where a token is scored.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from altgrad.evaluate.questions import Row, TaskExample, common_prefix, fit
from altgrad.evaluate.workers import in_turns
from altgrad.model import GPT, KVCache

GRAIN = 16
MIN_SHARED = 2 * GRAIN
HEAD_TOKENS = 512
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Score:
    """Of one row.

    Attributes:
        loss: mean over the scored tokens, nats. tokens: their number.
        greedy: whether every token of the answer is the likeliest.
        total: log-probability of the whole answer, nats.
    """

    loss: float
    tokens: int
    greedy: bool
    total: float


@dataclass(frozen=True)
class _Place:
    """Where a row belongs: question number, row number, and how much is in the cache."""

    question: int
    row: int


def answer(question: TaskExample, scores: Sequence[Score]) -> bool:
    """Whether the model was right, by CORE's measure: the smallest mean loss per token."""
    if question.gold is None:
        return scores[0].greedy
    return _best([-score.loss for score in scores]) == question.gold


def harness_answers(question: TaskExample, scores: Sequence[Score]) -> tuple[bool, bool]:
    """Right by lm-eval's `acc` (likeliest choice), and `acc_norm` (likeliest per character)?"""
    totals = [score.total for score in scores]
    normed = [t / n for t, n in zip(totals, question.characters, strict=True)]
    return _best(totals) == question.gold, _best(normed) == question.gold


def _best(values: Sequence[float]) -> int:
    return values.index(max(values))


def score_questions(
    model: GPT,
    questions: Sequence[TaskExample],
    *,
    batch_tokens: int = 8192,
    share: bool = True,
    progress: Progress | None = None,
) -> list[list[Score]]:
    """A `Score` for every row of every question, in order.

    `batch_tokens` bounds the tokens of one forward pass; `share=False` computes every row whole.
    """
    questions = [fit(question, model.config.block_size) for question in questions]
    scores: list[list[Score | None]] = [[None] * len(q.rows) for q in questions]
    done = 0
    batches = _batches(questions, batch_tokens, share and _caches(model))
    for batch, found in in_turns(lambda b: (b, b.run(model, questions)), batches, _device(model)):
        for place, score in zip(batch.places, found, strict=True):
            scores[place.question][place.row] = score
        done += len(batch.places)
        if progress:
            progress(done, sum(len(q.rows) for q in questions))
    return scores  # type: ignore[return-value]


@dataclass(frozen=True)
class _Batch:
    """Rows of one forward pass; of all of them the first `shared` tokens come from a cache that is
    filled once per question."""

    places: list[_Place]
    shared: int = 0

    def run(self, model: GPT, questions: Sequence[TaskExample]) -> list[Score]:
        rows = [_row(questions, place, self.shared) for place in self.places]
        return _score_rows(model, rows, self._cache(model, questions, rows))

    def _cache(
        self, model: GPT, questions: Sequence[TaskExample], rows: Sequence[Row]
    ) -> KVCache | None:
        if not self.shared:
            return None
        device = _device(model)
        counts = Counter(place.question for place in self.places)  # in the order of the places
        heads = [questions[n].rows[0].tokens[: self.shared] for n in counts]
        longest = max(len(row.tokens) for row in rows) - 1
        cache = _fill(model, torch.tensor(heads, device=device))
        repeats = torch.tensor(list(counts.values()), device=device)
        return cache.repeated(repeats, self.shared + longest)


def _batches(questions: Sequence[TaskExample], batch_tokens: int, share: bool) -> Iterator[_Batch]:
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        by_length[_shared_length(question) if share else 0].append(number)
    whole = by_length.pop(0, [])
    for length, numbers in sorted(by_length.items()):
        for batch in _by_tokens(numbers, questions, batch_tokens):
            yield _Batch(_places(questions, batch), length)
    yield from _whole_batches(questions, _places(questions, whole), batch_tokens)


def _places(questions: Sequence[TaskExample], numbers: Sequence[int]) -> list[_Place]:
    return [_Place(n, r) for n in numbers for r in range(len(questions[n].rows))]


def _shared_length(question: TaskExample) -> int:
    """Tokens at the beginning that are computed once: a multiple of GRAIN, 0 if not worth it."""
    if len(question.rows) < 2:
        return 0
    limit = min(row.first for row in question.rows) - 1
    shared = min(limit, common_prefix([row.tokens for row in question.rows]))
    return 0 if shared < MIN_SHARED else shared // GRAIN * GRAIN


def _by_tokens(
    numbers: list[int], questions: Sequence[TaskExample], batch_tokens: int
) -> Iterator[list[int]]:
    """TaskExample numbers in batches whose rows, padded, stay below `batch_tokens`."""
    ordered = sorted(numbers, key=lambda n: max(len(r.tokens) for r in questions[n].rows))
    batch: list[int] = []
    rows = 0
    for n in ordered:
        longest = max(len(row.tokens) for row in questions[n].rows)
        if batch and (rows + len(questions[n].rows)) * longest > batch_tokens:
            yield batch
            batch, rows = [], 0
        batch.append(n)
        rows += len(questions[n].rows)
    if batch:
        yield batch


class _Filled(Exception):
    """Every layer has stored its keys and values."""


class _FillingCache(KVCache):
    """Ends the forward pass where the last layer has stored: what follows would not be used."""

    def insert_kv(self, layer_idx: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        stored = super().insert_kv(layer_idx, k, v)
        if layer_idx == self.n_layer - 1:
            raise _Filled
        return stored


def _fill(model: GPT, idx: Tensor) -> KVCache:
    """A cache that has read `idx` (B, T)."""
    cache = _FillingCache(model.config, idx.size(1))
    with contextlib.suppress(_Filled):
        model.hidden(idx, cache)
    return cache


def _row(questions: Sequence[TaskExample], place: _Place, skip: int) -> Row:
    row = questions[place.question].rows[place.row]
    answer = None if row.answer is None else row.answer - skip
    return Row(row.tokens[skip:], row.start - skip, answer)


def _whole_batches(
    questions: Sequence[TaskExample], places: list[_Place], batch_tokens: int
) -> Iterator[_Batch]:
    def length(place: _Place) -> int:
        return len(questions[place.question].rows[place.row].tokens)

    batch: list[_Place] = []
    for place in sorted(places, key=length):
        if batch and (len(batch) + 1) * length(place) > batch_tokens:
            yield _Batch(batch)
            batch = []
        batch.append(place)
    if batch:
        yield _Batch(batch)


def _score_rows(model: GPT, rows: Sequence[Row], cache: KVCache | None) -> list[Score]:
    """One forward pass over rows padded on the right; the head only where a token is scored."""
    device = _device(model)
    inputs = torch.zeros(len(rows), max(len(r.tokens) for r in rows) - 1, dtype=torch.long)
    for i, row in enumerate(rows):
        inputs[i, : len(row.tokens) - 1] = torch.tensor(row.tokens[:-1])
    hidden = model.hidden(inputs.to(device), cache)  # [rows, T, C]
    counts = [len(row.tokens) - row.first for row in rows]
    where = [
        (i, t) for i, row in enumerate(rows) for t in range(row.first - 1, len(row.tokens) - 1)
    ]
    at = torch.tensor(where, device=device)
    targets = torch.tensor([t for row in rows for t in row.tokens[row.first :]], device=device)
    losses, hits = _losses(model, hidden[at[:, 0], at[:, 1]], targets)
    parts = zip(rows, losses.split(counts), hits.split(counts), strict=True)
    return [_score(row, loss, hit) for row, loss, hit in parts]


def _score(row: Row, losses: Tensor, hits: Tensor) -> Score:
    scored = losses[row.start - row.first :]
    return Score(
        loss=float(scored.mean()),
        tokens=len(scored),
        greedy=bool(hits.all()),
        total=-float(losses.sum()),
    )


def _losses(model: GPT, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each target (float64, CPU) and whether it was the likeliest token, both (N,)."""
    losses, hits = [], []
    for h, target in zip(hidden.split(HEAD_TOKENS), targets.split(HEAD_TOKENS), strict=True):
        logits = model.head(h[None])[0]
        losses.append(F.cross_entropy(logits, target, reduction="none").double().cpu())
        hits.append((logits.argmax(-1) == target).cpu())
    return torch.cat(losses), torch.cat(hits)


@torch.inference_mode()
def _caches(model: GPT) -> bool:
    """Whether the model's attention fills a KV cache; an outside part may not."""
    cache = KVCache(model.config, 2)
    model.hidden(torch.zeros(1, 2, dtype=torch.long, device=_device(model)), cache)
    return cache.get_pos() == 2


def _device(model: GPT) -> torch.device:
    return next(model.parameters()).device
