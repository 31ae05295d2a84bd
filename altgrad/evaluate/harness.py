"""lm-eval's harness (EleutherAI) over our models, through its own interface for models.

Any of its tasks runs, with its own protocol and metrics. A text starts with the tokenizer's
BOS, else its end-of-text token, as it does in our own tasks, so both paths score the same rows.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from altgrad.data.errors import DataError
from altgrad.data.special_tokens import continuation, ends_of_text, first_token
from altgrad.evaluate.questions import Row, TaskExample
from altgrad.evaluate.scoring import score_questions
from altgrad.model import GPT
from altgrad.model.generate import stream

MAX_NEW_TOKENS = 256


def run_harness(
    model: GPT, tokenizer: Any, tasks: Sequence[str | dict[str, Any]], *, limit: int | None = None
) -> dict[str, Any]:
    """lm-eval's results, task -> metric -> value; `limit` asks the first so many examples.

    A task is a name that lm-eval knows, or its configuration. Raises DataError without lm-eval.
    """
    try:
        from lm_eval import simple_evaluate
    except ImportError:
        raise DataError("lm-eval's tasks need lm-eval: pip install 'altgrad[eval]'") from None
    found = simple_evaluate(
        model=language_model(model, tokenizer), tasks=list(tasks), limit=limit, bootstrap_iters=0
    )
    results: dict[str, Any] = found["results"]
    return results


def language_model(model: GPT, tokenizer: Any, *, batch_tokens: int = 8192) -> Any:
    """Our model as an `lm_eval.api.model.TemplateLM`."""
    from lm_eval import utils
    from lm_eval.api.model import TemplateLM

    first = first_token(tokenizer)
    begin = [] if first is None else [first]

    class AltgradLM(TemplateLM):
        @property
        def eot_token_id(self) -> int:
            ends = ends_of_text(tokenizer)
            return ends[0] if ends else self.prefix_token_id

        @property
        def prefix_token_id(self) -> int:
            return begin[0] if begin else tokenizer.encode("\n")[0]

        def tok_encode(self, string: str, **_: Any) -> list[int]:
            return tokenizer.encode(string)

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            return loglikelihoods(
                model, [(c, t) for _, c, t in requests], begin=begin, batch_tokens=batch_tokens
            )

        def loglikelihood_rolling(self, requests: Any, **_: Any) -> list[float]:
            return [self._rolling(request.args[0]) for request in requests]

        def _rolling(self, text: str) -> float:
            windows = utils.get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=model.config.block_size,
                context_len=1,
            )
            pairs = [utils.make_disjoint_window(window) for window in windows]
            return sum(p for p, _ in loglikelihoods(model, pairs, begin=[]))

        def generate_until(self, requests: Any, **_: Any) -> list[str]:
            return [continued(model, tokenizer, *r.args, begin=begin) for r in requests]

    return AltgradLM()


def loglikelihoods(
    model: GPT,
    pairs: Sequence[tuple[list[int], list[int]]],
    *,
    begin: list[int],
    batch_tokens: int = 8192,
) -> list[tuple[float, bool]]:
    """(log-probability of the continuation, is it the greedy one?) for (context, continuation).

    Neighbours with the same context are one question, so the context is computed once.
    """
    questions = []
    for _, group in groupby(pairs, key=lambda pair: pair[0]):
        rows = []
        for context, answer in group:
            before = context if context[: len(begin)] == begin else begin + context
            rows.append(Row((*before, *answer), max(len(before), 1)))
        questions.append(TaskExample(tuple(rows), None))
    scores = score_questions(model, questions, batch_tokens=batch_tokens)
    return [(score.total, score.greedy) for row in scores for score in row]


def continued(
    model: GPT, tokenizer: Any, context: str, settings: dict[str, Any], *, begin: list[int]
) -> str:
    """What the model writes after `context` until one of `settings["until"]`, or an end of text."""
    stops = settings.get("until") or []
    stops = [stops] if isinstance(stops, str) else stops
    tokens = int(settings.get("max_gen_toks", MAX_NEW_TOKENS))
    temperature = float(settings.get("temperature", 0.0)) if settings.get("do_sample") else 0.0
    device = next(model.parameters()).device
    start = torch.tensor([begin + tokenizer.encode(context)], device=device)
    ends = ends_of_text(tokenizer)
    ids: list[int] = []
    text = ""
    how = {"temperature": temperature, "vocab_size": tokenizer.vocab_size}
    for token in stream(model, start, max_new_tokens=tokens, **how):
        if int(token) in ends:
            break
        ids.append(int(token))
        text = continuation(tokenizer, ids)
        if any(stop in text for stop in stops):
            break
    return min((text.split(stop)[0] for stop in stops), key=len, default=text)
