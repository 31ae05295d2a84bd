"""How often a ledger is wrong: simulated loops of ideas, without training.

    python benchmarks/ledger_calibration.py [--repeats 200]

Every row simulates whole loops of 125 ideas; beside the ledger stands the greedy rule (one run a
try, kept if it beats the champion's own best score). Printed per row: the share of
false ones among the changes kept, the promised bound, the true gain of the final champion, and the
runs it took. Ideas share their champion's runs, so their tests are correlated as in a real ledger.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from altgrad.ideas.discovery import Discoveries
from altgrad.ideas.effects import FEWEST_SEEDS, Weighing, looks_of, planned_seeds
from altgrad.ideas.noise import pool
from altgrad.ideas.screening import NOMINATED, OPEN, screen
from altgrad.ideas.terms import ALPHA, Terms

IDEAS = 125
DELTA = 0.003
NOISE = 0.0011
"""Standard deviation of one run around its seed's own level; a paired difference has √2 of it."""

SEED_LEVEL = 0.006
RECKON_AT = Terms().reckon_at


@dataclass(frozen=True)
class World:
    """What is true: each idea's gain, and how noisy its runs are (1 = like the baseline's)."""

    name: str
    gains: Callable[[np.random.Generator], np.ndarray]
    noisiness: Callable[[np.random.Generator], np.ndarray] = lambda rng: np.ones(IDEAS)


def mixed(rng: np.random.Generator) -> np.ndarray:
    """15 of 125 gain 1 to 4 delta, 50 lose about as much, the rest do nothing."""
    gains = np.zeros(IDEAS)
    order = rng.permutation(IDEAS)
    gains[order[:15]] = DELTA * rng.uniform(1, 4, 15)
    gains[order[15:65]] = -DELTA * rng.uniform(0.5, 4, 50)
    return gains


def uneven(rng: np.random.Generator) -> np.ndarray:
    """A third of the ideas are three times as noisy."""
    return np.where(rng.random(IDEAS) < 1 / 3, 3.0, 1.0)


def nothing(rng: np.random.Generator) -> np.ndarray:
    return np.zeros(IDEAS)


WORLDS = (
    World("all ideas do nothing", nothing),
    World("all do nothing, a third are noisier", nothing, uneven),
    World("15 gain, 50 lose, 60 do nothing", mixed),
    World("the same, a third are noisier", mixed, uneven),
)


class Machine:
    """Makes runs: a champion is the set of ideas it is made of. A run is made once."""

    def __init__(self, world: World, rng: np.random.Generator):
        self.gains, self.noisiness, self.rng = world.gains(rng), world.noisiness(rng), rng
        self.level: dict[int, float] = {}
        self.made: dict[tuple[frozenset[int], int], float] = {}

    def run(self, ideas: frozenset[int], seed: int) -> float:
        """The loss of these ideas together on this seed."""
        if (ideas, seed) not in self.made:
            level = self.level.setdefault(seed, self.rng.normal(0, SEED_LEVEL))
            noisier = max([1.0, *(self.noisiness[i] for i in ideas)])
            noise = self.rng.normal(0, NOISE * noisier)
            self.made[ideas, seed] = level - sum(self.gains[i] for i in ideas) + noise
        return self.made[ideas, seed]


@dataclass(frozen=True)
class Ended:
    """kept: ideas in the final champion; found: those the ledger calls findings."""

    kept: frozenset[int]
    found: frozenset[int]
    gain: float
    runs: int


def greedy(machine: Machine) -> Ended:
    """One run a try; the champion's own lucky score is the bar."""
    champion: frozenset[int] = frozenset()
    best = machine.run(champion, 0)
    for idea in range(IDEAS):
        loss = machine.run(champion | {idea}, 0)
        if loss < best:
            champion, best = champion | {idea}, loss
    return _ended(machine, champion, champion)


def ledger(machine: Machine, guarantee: str) -> Ended:
    """Screening and reckonings, as `altgrad ideas run` does them."""
    discoveries = Discoveries(ALPHA[guarantee], guarantee)
    fresh = iter(range(1, 1_000_000))
    champion: frozenset[int] = frozenset()
    proven: frozenset[int] = frozenset()
    first = [machine.run(champion, s) for s in (next(fresh) for _ in range(4))]
    pairs: list[list[float]] = []
    noise = pool(first, 0.0)
    seeds = [1, 2, 3, 4]  # the first champion is the baseline: nobody chose it
    for idea in range(IDEAS):
        gains: list[float] = []
        verdict = OPEN
        while verdict == OPEN:
            seed = seeds[len(gains)]
            gains.append(machine.run(champion, seed) - machine.run(champion | {idea}, seed))
            spread = noise.spread_of(gains)
            verdict = screen(gains, spread.value, DELTA, spread.freedom).verdict
        pairs.append(gains)
        noise = pool(first, 0.0, pairs)
        if verdict == NOMINATED:
            champion, seeds = champion | {idea}, [next(fresh) for _ in range(4)]
        if len(champion - proven) >= RECKON_AT or (idea == IDEAS - 1 and champion - proven):
            proven |= reckon(machine, champion, proven, noise.spread, discoveries, fresh)
            champion, seeds = proven, [next(fresh) for _ in range(4)]
    return _ended(machine, champion, proven)


def reckon(machine, champion, proven, spread, discoveries, fresh) -> frozenset[int]:
    """The provisional changes whose removal is shown to hurt, on seeds that no one has used."""
    changes = sorted(champion - proven)
    level = discoveries.level(len(changes)) / 2
    seeds = [next(fresh) for _ in range(planned_seeds(DELTA, spread, level))]
    looks = looks_of(len(seeds))
    weighing = Weighing([str(i) for i in changes], len(looks), DELTA, discoveries)
    for look in looks:
        weighing.look({c: harms(machine, champion, int(c), seeds[:look]) for c in weighing.open})
    found = frozenset(int(e.change) for e in weighing.end() if e.found)
    for seed in seeds[:FEWEST_SEEDS]:  # the headline's runs
        machine.run(frozenset(), seed)
        machine.run(proven | found, seed)
    return found


def harms(machine, champion, change, seeds) -> list[float]:
    return [machine.run(champion - {change}, s) - machine.run(champion, s) for s in seeds]


def _ended(machine: Machine, kept: frozenset[int], found: frozenset[int]) -> Ended:
    return Ended(kept, found, float(sum(machine.gains[i] for i in kept)), len(machine.made))


def false_share(ended: Ended, gains: np.ndarray) -> float:
    return sum(gains[i] <= 0 for i in ended.found) / max(1, len(ended.found))


def row(world: World, name: str, loop: Callable[[Machine], Ended], repeats: int) -> str:
    ends, shares, anyfalse, true = [], [], 0, []
    for repeat in range(repeats):
        machine = Machine(world, np.random.default_rng(repeat))
        ended = loop(machine)
        ends.append(ended)
        shares.append(false_share(ended, machine.gains))
        anyfalse += any(machine.gains[i] <= 0 for i in ended.found)
        true.append(sum(machine.gains[i] > 0 for i in ended.found))
    kept = np.mean([len(e.found) for e in ends])
    gain = np.mean([e.gain for e in ends]) / DELTA
    runs = np.mean([e.runs for e in ends])
    return (
        f"| {world.name} | {name} | {kept:.1f} | {100 * np.mean(shares):.1f} % | "
        f"{100 * anyfalse / repeats:.0f} % | {np.mean(true):.1f} | {gain:+.1f} | {runs:.0f} | "
        f"{runs / (IDEAS + 1):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    columns = ("ideas", "loop", "claimed", "false", "any false", "true ones found")
    columns += ("true gain / delta", "runs", "x greedy's")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for world in WORLDS:
        print(row(world, "greedy", greedy, repeats), flush=True)
        for guarantee, promise in (("fdr", "false <= 10 %"), ("fwer", "any <= 5 %")):
            name = f"ledger, {guarantee} ({promise})"
            print(row(world, name, lambda m, g=guarantee: ledger(m, g), repeats), flush=True)


if __name__ == "__main__":
    main()
