"""A training script that nobody wrote for altgrad: a bigram model of a short text, in plain Python.

It prints what such scripts print, and has the faults they have: a fixed seed, a step counted in its
own way, options that break it.
"""

import argparse
import itertools
import json
import math
import os
import random
import sys
import time

TEXT = "the cat sat on the mat and the dog sat on the log while the rat ran round the vat " * 3
SMOOTHING = 0.1


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--log", default="")
    parser.add_argument("--fail", choices=("", "crash", "hang", "nan", "silent"), default="")
    return parser.parse_args()


def loss(weights, pairs):
    total = 0.0
    for a, b in pairs:
        row = weights[a]
        total += math.log(sum(math.exp(w) for w in row.values())) - row[b]
    return total / len(pairs)


def main():
    options = parse()
    random.seed(1337 if options.seed is None else options.seed)
    letters = sorted(set(TEXT))
    weights = {a: {b: random.gauss(0, SMOOTHING) for b in letters} for a in letters}
    pairs = list(itertools.pairwise(TEXT))
    cut = len(pairs) * 2 // 3
    train, val = pairs[:cut], pairs[cut:]
    print(f"python {sys.version.split()[0]}, note {os.environ.get('NOTE', 'none')}", flush=True)
    lines = []
    for step in range(1, options.steps + 1):
        a, b = random.choice(train)
        row = weights[a]
        total = sum(math.exp(w) for w in row.values())
        for c in row:
            row[c] -= options.lr * (math.exp(row[c]) / total - (c == b))
        if step % options.every == 0:
            now = math.nan if options.fail == "nan" and step > options.every else loss(weights, val)
            lines.append({"step": step, "eval": {"loss": now}})
            if options.fail != "silent":
                print(f"iter {step}: train loss {loss(weights, train):.4f}, val loss {now:.4f}")
    if options.log:
        with open(options.log, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    if options.fail == "crash":
        raise RuntimeError("the loss went out for a walk")
    while options.fail == "hang":
        time.sleep(1)


main()
