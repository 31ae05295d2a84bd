"""A ledger at work: `Ledger.open("runs/ideas/fast").try_(["optim.lr=0.02"], why="…")`.

Every call holds the ledger's lock, reads what others have written, makes the runs that are not
there yet, and adds one entry at its end. So it may be killed anywhere: typed again, it finds its
runs and ends as it would have.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from altgrad.compare.arm import Arm, Compose, differences
from altgrad.compare.launching import LAUNCHERS, Launch, Report
from altgrad.compare.record import plain_name
from altgrad.ideas import heldout
from altgrad.ideas.admission import failure_of
from altgrad.ideas.bench import Bench, Say, costs_of
from altgrad.ideas.idea import Idea, read_idea
from altgrad.ideas.ledger import Entry, LedgerFile
from altgrad.ideas.noise import pool
from altgrad.ideas.reckoning import BASELINE, Reckoning, headline_of, plan_of
from altgrad.ideas.screening import NOMINATED, OPEN, PARKED
from altgrad.ideas.state import FIRST_SEEDS, State, read_state
from altgrad.ideas.terms import Terms
from altgrad.ideas.trial import CRASHED, REFUSED, nomination, screen_idea, settle_idea
from altgrad.settings import ConfigError, require

FOLDER = "ideas"
DEFAULT_PAIRS = 8
"""The default delta is the smallest gain that so many pairs can see."""


def ledger_folder(name: str, runs: str | Path = "runs") -> Path:
    """`fast` -> `runs/ideas/fast`; a path stays one.

    Raises:
        ConfigError: a name that is no folder's.
    """
    path = Path(name)
    if path.name != name and path.parent.name == FOLDER:
        return path
    require(
        plain_name(name), f"{name!r} must be a plain name: it is a folder below {runs}/{FOLDER}."
    )
    return Path(runs) / FOLDER / name


def composing() -> Compose:
    """What `altgrad compare` composes its words with."""
    from functools import partial

    from altgrad.compose import compose_config

    return partial(compose_config, all_read=False)


class Ledger:
    """One ledger's folder. `say` is told what happens, a line an event."""

    def __init__(
        self,
        folder: Path,
        *,
        compose: Compose | None = None,
        launch: Launch | None = None,
        say: Say = lambda _: None,
        report: Report | None = None,
    ) -> None:
        self.file = LedgerFile(folder)
        self.folder = folder
        self.compose = compose or composing()
        self.launch = launch or Launch(runs=str(folder.parent.parent))
        self.launch.check(list(LAUNCHERS))
        self.say, self.report = say, report

    @classmethod
    def open(cls, path: str | Path, **how: Any) -> "Ledger":
        """The ledger in a folder, or of a name below `runs/ideas`.

        Raises:
            ConfigError: there is none.
        """
        made = cls(ledger_folder(str(path)), **how)
        made.state()
        return made

    def state(self) -> State:
        """Everything that it says now."""
        return read_state(self.file.entries())

    # -- beginning --------------------------------------------------------------------------------

    def new(self, terms: Terms) -> State:
        """Begin it: cut the held-out part off, run the baseline on four seeds, one of them twice.

        Raises:
            ConfigError: there is a ledger with other terms, or the baseline does not run.
        """
        with self._turn():
            if not self.file.exists():
                bench = Bench(terms, self.compose, self.launch)
                (arm,) = bench.arms({BASELINE: []})
                heldout.cut(arm.config, terms.heldout, self.folder)
                self.file.append("new", terms=terms.to_dict(), seeds=list(FIRST_SEEDS))
            state = self.state()
            if state.terms != terms:
                raise ConfigError(
                    f"{self.folder} is a ledger with other terms; give the new one another name"
                )
            if state.noise is None:
                self._measure_noise(state)
            return self.state()

    def _measure_noise(self, state: State) -> None:
        bench = self._bench(state)
        (arm,) = bench.arms({BASELINE: []})
        row = bench.run([arm], FIRST_SEEDS)[BASELINE]
        again = bench.run_again(arm, FIRST_SEEDS[0])
        lost = [o for o in [*row.values(), again] if o.lost]
        if lost:
            raise ConfigError(
                f"the baseline itself is lost at seed {lost[0].seed} ({lost[0].state} "
                f"{lost[0].error}): mend it, and begin another ledger"
            )
        outcomes, repeat = [o.outcome for o in row.values()], again.outcome - row[1].outcome
        noise = pool(outcomes, repeat)
        delta = state.terms.delta or _rounded_up(noise.smallest_gain(DEFAULT_PAIRS)) or 1e-6
        costs = costs_of({"first": row, "again": {1: again}}, set())
        self.file.append(
            "noise",
            seeds=list(FIRST_SEEDS),
            outcomes=outcomes,
            repeat=repeat,
            delta=delta,
            smallest={str(n): noise.smallest_gain(n) for n in (1, 2, 4, 8)},
            costs=costs,
        )

    # -- the first gear ---------------------------------------------------------------------------

    def try_(self, words: Sequence[str] = (), *, why: str = "") -> Entry:
        """Try one idea; its entry, whose `verdict` is nominated, no gain, parked, lost, crashed or
        refused (with a `reason`). A failure is an outcome, not an exception.

        Raises:
            ConfigError: no KEY=VALUE, or the ledger cannot go on.
        """
        return self.try_idea(read_idea(words, why=why))

    def try_idea(self, idea: Idea, *, item: str = "") -> Entry:
        """item: which of a queue's it is, so that it is not tried again by the same queue."""
        with self._turn():
            state = self.state()
            state.known_noise()
            self._refuse_open_plan(state)
            if item and item in state.done():
                return next(e for e in state.entries if e.get("item") == item)
            entry = self._entry_of(state, idea)
            return self.file.append("try", **entry, item=item)

    def _refuse_open_plan(self, state: State) -> None:
        if state.plan is not None:
            raise ConfigError(
                f"a reckoning has begun and has not ended: altgrad ideas reckon {self.folder.name}"
            )

    def _entry_of(self, state: State, idea: Idea) -> dict[str, Any]:
        number = sum(e["kind"] == "try" for e in state.entries)
        entry: dict[str, Any] = {
            "id": f"i{number}",
            "name": idea.name,
            "words": list(idea.words),
            "why": idea.why,
            "reign": state.reign,
            "key": "",
            "reason": "",
            "seeds": [],
            "costs": {},
        }
        self.say(f"{entry['id']} {idea.name}: begun")
        entry |= self._outcome(state, idea, entry["id"])
        self.say(event(entry))
        return entry

    def _outcome(self, state: State, idea: Idea, id_: str) -> dict[str, Any]:
        bench = self._bench(state)
        try:
            arms, key = settle_idea(bench, state, idea, id_)
        except (ValueError, ImportError) as error:
            return {"verdict": REFUSED, "reason": " ".join(str(error).split())}
        changed = differences(arms[0].config, arms[1].config)
        if reason := failure_of(arms[1], self.launch, state.terms, changed):
            return {"verdict": CRASHED, "reason": reason, "key": key}
        if state.steps:
            arms[0] = arms[0].with_settings({"max_steps": state.steps})
        arms = bench.spend_equally(arms, self._measured(bench, arms, key))
        found, facts = screen_idea(bench, state, arms)
        verdict = PARKED if found.verdict == OPEN else found.verdict
        entry = {**facts, "verdict": verdict, "key": key, "reason": facts["error"]}
        entry |= {"steps": arms[1].config.max_steps}
        if verdict == NOMINATED:
            entry |= nomination(bench, state, idea, arms[1])
        return entry

    # -- the second gear --------------------------------------------------------------------------

    def reckon(self) -> Entry:
        """Say which provisional changes do anything, and take the others out.

        Raises:
            ConfigError: there is nothing to reckon.
        """
        with self._turn():
            state = self.state()
            bench = self._bench(state)
            plan = state.plan or self.file.append("plan", **plan_of(bench, state))
            state = self.state()
            seeds, arms = len(plan["seeds"]), len(plan["groups"]) + 2
            self.say(f"reckoning: {arms} arms on {seeds} fresh seeds")
            key = f"plan {plan['n']}"
            entry = Reckoning(
                bench,
                state,
                plan,
                lambda found: self._measured(
                    bench, found, f"{key} {' '.join(a.name for a in found)}"
                ),
                state.discoveries,
            ).reckon()
            entry["heldout"] = self._heldout(state, bench, entry)
            made = self.file.append("reckon", **entry)
            for line in findings(made):
                self.say(line)
            return made

    def _heldout(self, state: State, bench: Bench, entry: dict[str, Any]) -> dict[str, Any]:
        """Read the held-out part once, in a process of its own; the reading is counted."""
        if not heldout.folder_of(self.folder).is_dir():
            return {}
        runs = {name: self._runs_of(bench, entry, name) for name in entry["folders"]}
        with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as process:
            losses = process.submit(heldout.losses, runs, heldout.folder_of(self.folder)).result()
        base, final = losses[BASELINE], losses[entry["final"]]
        gains = [base[s] - final[s] for s in base if s in final]
        readings = 1 + sum(e["kind"] == "reckon" and bool(e["heldout"]) for e in state.entries)
        return {"reading": readings, **headline_of(gains)}

    def _runs_of(self, bench: Bench, entry: dict[str, Any], name: str) -> dict[int, str]:
        return {s: str(bench.registry.base / run) for s, run in entry["folders"][name].items()}

    # -- an earlier loop --------------------------------------------------------------------------

    def take_over(self, source: str, rows: list[dict[str, Any]]) -> Entry:
        """Keep a table of an earlier loop, as unproven history: it changes no champion."""
        with self._turn():
            self.state()
            return self.file.append("history", source=source, rows=rows)

    # -- helpers ----------------------------------------------------------------------------------

    def _measured(self, bench: Bench, arms: list[Arm], key: str) -> dict[str, float]:
        """Seconds of a step, measured once: a second measuring would change the runs."""
        if bench.terms.budget != "time":
            return {}
        entries = self.file.entries()
        known = [e for e in entries if e["kind"] == "measured" and e["key"] == key]
        if not known:
            self.say(f"measuring a step of {', '.join(a.name for a in arms)}, in turn")
            step_s = bench.measure(arms, self.folder / "measured")
            known = [self.file.append("measured", key=key, step_s=list(step_s.values()))]
        return dict(zip((a.name for a in arms), known[-1]["step_s"], strict=True))

    def _bench(self, state: State) -> Bench:
        own = self.folder / heldout.TOKENS
        data = own if own.is_dir() else None
        return Bench(state.terms, self.compose, self.launch, data, self.report)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        try:
            with self.file.lock(wait=False):
                yield
                return
        except ConfigError as error:
            if "another process" not in str(error):
                raise
        self.say(f"another process works on {self.folder}: waiting for my turn")
        with self.file.lock():
            yield


def _rounded_up(value: float) -> float:
    """To one digit: `0.00213` -> `0.003`."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.1g}")


def event(entry: dict[str, Any]) -> str:
    """One line about a try that has ended."""
    gain = entry.get("gain")
    numbers = (
        f" {gain:+.5f} [{entry['low']:+.5f}, {entry['high']:+.5f}]" if gain is not None else ""
    )
    pairs = f" after {entry['pairs']} pairs" if entry.get("pairs") else ""
    why = f": {entry['reason']}" if entry["reason"] else ""
    return f"{entry['id']} {entry['name']}: {entry['verdict']}{numbers}{pairs}{why}"


def findings(entry: Entry) -> list[str]:
    """What a reckoning found, a line a change, the headline first."""
    head = entry["headline"]
    lines = ["reckoned: no pair of runs is whole"]
    if head["gain"] is not None:
        low, high = (math.nan if head[k] is None else head[k] for k in ("low", "high"))
        lines = [
            f"reckoned: the champion gains {head['gain']:+.5f} [{low:+.5f}, {high:+.5f}] on the "
            f"baseline, {head['pairs']} fresh seeds"
        ]
    for e in entry["effects"]:
        state = "finding" if e["found"] else "barnacle"
        state = "kept" if e["change"] in entry["kept"] else state
        harm = "" if e["harm"] is None else f", {e['harm']:+.5f} is lost without it"
        lines.append(f"{e['change']}: {state}{harm} (p {e['p']:.2g})")
    return lines
