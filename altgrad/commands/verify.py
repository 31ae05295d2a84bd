"""`altgrad verify`: words -> proofs."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from altgrad.commands.words import add_trust
from altgrad.runs import json_text

AddCommand = Callable[..., argparse.ArgumentParser]
Compose = Callable[..., Any]

VERIFY_HELP = """\
examples:
  altgrad verify model=llama
  altgrad verify model.attention=mine:Attention
  altgrad verify precision=e4m3 optim=adamw
Every part is checked as configured, in a small model; exit code 1 if a check fails.
"""


def add_verify_command(
    commands: Any, add_command: AddCommand, add_overrides: Callable, compose: Compose
) -> None:
    summary = "prove a network, precision and optimiser sound before trusting a run to them"
    parser = add_command(commands, "verify", partial(verify, compose), summary)
    parser.epilog = VERIFY_HELP
    add_overrides(parser)
    add_trust(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def verify(compose: Compose, arguments: argparse.Namespace) -> int:
    config = compose(arguments.overrides, arguments.config_dir)
    import torch

    from altgrad.learn.verify.verify import verify as run

    torch.set_num_threads(1)  # small models: more threads only wait for each other
    results = []
    for result in run(config):
        results.append(result)
        if not arguments.json:
            print("\n".join(result.lines()), flush=True)
    if arguments.json:
        print(json_text([r.to_dict() for r in results], indent=2, ensure_ascii=False))
        return int(any(r.passed is False for r in results))
    failed, skipped = (sum(r.passed is x for r in results) for x in (False, None))
    passed = len(results) - failed - skipped
    print(f"\n{passed} passed, {failed} failed, {skipped} not applicable")
    return int(failed > 0)
