"""A ledger at work: `Ledger.open("runs/ideas/fast").try_(["optim.lr=0.02"], why="…")`.

Every call holds the ledger's lock, reads what others have written, makes the runs that are not
there yet, and adds one entry at its end. So it may be killed anywhere: typed again, it finds its
runs and ends as it would have.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from altgrad.compare.arm import Arm, Compose
from altgrad.compare.launching import LAUNCHERS, Launch, Report
from altgrad.compare.question import Tuning
from altgrad.compare.record import plain_name
from altgrad.compare.tuning import start_grid
from altgrad.ideas import heldout
from altgrad.ideas.bench import Bench, Outcomes, Say, costs_of, finite, plain
from altgrad.ideas.idea import Idea, last_words, read_idea
from altgrad.ideas.ledger import Entry, LedgerFile
from altgrad.ideas.noise import pool
from altgrad.ideas.patches import keep, with_patch
from altgrad.ideas.price import slope_of
from altgrad.ideas.program_bench import ProgramBench
from altgrad.ideas.reckoning import BASELINE, Reckoning, headline_of, plan_of
from altgrad.ideas.screening import NOMINATED
from altgrad.ideas.state import FIRST_SEEDS, State, read_state, words_of
from altgrad.ideas.terms import Terms
from altgrad.ideas.trial import (
    CRASHED,
    REFUSED,
    Screened,
    facts_of,
    nomination,
    screen_idea,
    settle_idea,
)
from altgrad.ideas.tuned import said, tune_both, words_of_tuned
from altgrad.settings import ConfigError, require

FOLDER = "ideas"
DEFAULT_PAIRS = 8
"""The default delta is the smallest gain that so many pairs can see."""


class ReckoningOpenError(ConfigError):
    """Nothing is tried while one is half done: it would change what is being reckoned."""


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
        self._benches: list[Bench] = []

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
                bench = self._bench_of(terms, None)
                (arm,) = bench.arms({BASELINE: []})
                if tuning := terms.tuning():
                    start_grid(arm, tuning)
                heldout.cut(arm.config, terms.heldout, self.folder)
                self.file.append(
                    "new", terms=terms.to_dict(), seeds=list(FIRST_SEEDS), **bench.facts(arm)
                )
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
        noise, made = pool(outcomes, repeat), {"first": row, "again": {1: again}}
        delta = state.terms.delta or _rounded_up(noise.smallest_gain(DEFAULT_PAIRS)) or 1e-6
        slope = self._slope(bench, arm, made)
        self.file.append(
            "noise",
            seeds=list(FIRST_SEEDS),
            outcomes=outcomes,
            repeat=repeat,
            slope=slope,
            delta=delta,
            smallest={str(n): noise.smallest_gain(n) for n in (1, 2, 4, 8)},
            costs=costs_of(made, set()),
        )

    def _slope(self, bench: Bench, arm: Arm, made: Outcomes) -> float | None:
        """What steps are worth: the baseline with fewer of them, on two of its seeds."""
        shorter = bench.shorter(arm)
        if shorter is None:
            return None
        made["shorter"] = bench.run([shorter], FIRST_SEEDS[:2])[arm.name]
        full = [made["first"][s].outcome for s in FIRST_SEEDS[:2]]
        fewer, share = made["shorter"].values(), shorter.config.max_steps / arm.config.max_steps
        return finite(slope_of(full, [o.outcome for o in fewer], share))

    # -- the first gear ---------------------------------------------------------------------------

    def try_(
        self, words: Sequence[str] = (), *, why: str = "", patch: str | Path | None = None
    ) -> Entry:
        """Try one idea; its entry, whose `verdict` is nominated, no gain, parked, lost, crashed or
        refused (with a `reason`). A failure is an outcome, not an exception.

        Raises:
            ConfigError: no KEY=VALUE, or the ledger cannot go on.
        """
        idea = read_idea(words, why=why, patched=patch is not None)
        return self.try_idea(idea if patch is None else with_patch(idea, patch))

    def try_idea(self, idea: Idea, *, item: str = "") -> Entry:
        """item: which of a queue's it is, so that it is not tried again by the same queue."""
        with self._turn():
            state = self.state()
            state.known_noise()
            self._refuse_open_plan(state)
            if item and item in state.done():
                return next(e for e in state.entries if e.get("item") == item)
            entry = self._entry_of(state, keep(idea, self.folder))
            return self.file.append("try", **entry, item=item)

    def _refuse_open_plan(self, state: State) -> None:
        if state.plan is not None:
            raise ReckoningOpenError(
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
        if reason := bench.failure_of(*arms):
            return {"verdict": CRASHED, "reason": reason, "key": key}
        if state.steps:
            arms[0] = arms[0].with_settings({"max_steps": state.steps})
        step_s = self._measured(bench, arms, f"{state.reign} {key}")
        arms = bench.spend_equally(arms, step_s)
        made = screen_idea(bench, state, arms)
        spent = costs_of(made.outcomes, state.runs())
        more: dict[str, Any] = {}
        tuning = state.terms.tuning()
        if tuning is not None and made.verdict == NOMINATED:
            arms, made, idea, more = self._tuned(bench, state, arms, made, idea, tuning)
            spent |= more.pop("costs")
        entry = {**facts_of(state, arms, made, step_s), "key": key, "costs": spent}
        entry |= {"steps": arms[1].config.max_steps, "reason": entry["error"], **more}
        if made.verdict == NOMINATED:
            entry |= {"words": list(idea.words), **nomination(bench, state, idea, arms[1])}
        return entry

    def _tuned(
        self,
        bench: Bench,
        state: State,
        arms: list[Arm],
        made: Screened,
        idea: Idea,
        tuning: Tuning,
    ) -> tuple[list[Arm], Screened, Idea, dict[str, Any]]:
        """A nominated idea and the champion, both tuned, judged again; and what an entry adds."""
        seeds = [s for s, o in made.outcomes[arms[0].name].items() if not o.lost]
        self.say(f"{arms[1].name} tuning {tuning.setting}, of the idea and of the champion")
        best, results, tried = tune_both(bench, arms, seeds, tuning)
        instead, own = (
            words_of_tuned(a, b, tuning.setting) for a, b in zip(arms, best, strict=True)
        )
        again = screen_idea(bench, state, best)
        values = f"{tuning.setting} {results[1].value:g}, the champion's {results[0].value:g}"
        reason = "" if again.verdict == NOMINATED else f"only before both were tuned ({values})"
        more = {
            "costs": costs_of({**tried, **again.outcomes}, state.runs()),
            "tuned": said(results),
            "untuned": plain(asdict(made.found)),
            "instead": list(instead),
            "reason": reason,
        }
        return best, again, replace(idea, words=tuple(last_words([*idea.words, *own]))), more

    # -- the second gear --------------------------------------------------------------------------

    def reckon(self) -> Entry:
        """Say which provisional changes do anything, and take the others out.

        Raises:
            ConfigError: there is nothing to reckon.
        """
        entry = self.reckon_if(lambda _: True)
        assert entry is not None
        return entry

    def reckon_if(self, due: Callable[[State], bool]) -> Entry | None:
        """The same where the ledger, once it is this process's turn, is so that it is due: another
        may have reckoned meanwhile. A reckoning that has begun is always due."""
        with self._turn():
            state = self.state()
            if state.plan is None and not due(state):
                return None
            bench = self._bench(state)
            plan = state.plan or self.file.append("plan", **plan_of(bench, state))
            state = self.state()
            seeds, arms = len(plan["seeds"]), len(plan["groups"]) + 2
            self.say(f"reckoning: {arms} arms on {seeds} fresh seeds")
            key = f"plan {plan['n']}"

            def measured(arms: list[Arm], more: str = "") -> dict[str, float]:
                named = " ".join([*(a.name for a in arms), more]).strip()
                return self._measured(bench, arms, f"{key} {named}")

            entry = Reckoning(bench, state, plan, measured).reckon()
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
        arms = {a.name: a for a in bench.arms({BASELINE: [], entry["final"]: self._final(entry)})}
        losses = bench.heldout_losses(runs, arms, heldout.folder_of(self.folder))
        base, final = losses[BASELINE], losses[entry["final"]]
        gains = [base[s] - final[s] for s in base if s in final]
        readings = 1 + sum(e["kind"] == "reckon" and bool(e["heldout"]) for e in state.entries)
        return {"reading": readings, **headline_of(gains)}

    def _final(self, entry: dict[str, Any]) -> list[str]:
        """Words of the champion that a reckoning leaves."""
        kept = set(entry["champion"])
        return words_of(c for c in self.state().champion if c.id in kept)

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
        """Seconds of a step, measured once: a second measuring could change the runs, or what is
        kept for its speed. Empty where runs are made on machines that this one knows nothing of."""
        if self.launch.elsewhere or not bench.measures(arms):
            return {}
        entries = self.file.entries()
        known = [e for e in entries if e["kind"] == "measured" and e["key"] == key]
        if not known:
            self.say(f"measuring a step of {', '.join(a.name for a in arms)}, in turn")
            step_s = bench.measure(arms, self.folder / "measured")
            known = [self.file.append("measured", key=key, step_s=list(step_s.values()))]
        return dict(zip((a.name for a in arms), known[-1]["step_s"], strict=True))

    def _bench(self, state: State) -> Bench:
        require(
            state.terms.budget != "time" or not self.launch.elsewhere,
            "budget=time is measured on one machine, this one; use launcher=local.",
        )
        return self._bench_of(state.terms, state)

    def _bench_of(self, terms: Terms, state: State | None) -> Bench:
        """state: None = the ledger is just being begun."""
        own = self.folder / heldout.TOKENS
        data = own if state is not None and own.is_dir() else None
        made: Bench
        if terms.of_programs:
            version = state.entries[0]["version"] if state is not None else ""
            made = ProgramBench(
                terms, self.compose, self.launch, None, self.report, self.folder, version
            )
        else:
            made = Bench(terms, self.compose, self.launch, data, self.report, self.folder)
        self._benches.append(made)
        return made

    @contextmanager
    def _turn(self) -> Iterator[None]:
        try:
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
        finally:
            while self._benches:
                self._benches.pop().release()


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
    count = entry.get("pairs", 0)
    pairs = f" after {count} pair{'s' if count > 1 else ''}" if count else ""
    why = f": {entry['reason']}" if entry["reason"] else ""
    noisy = ""
    if entry.get("own_spread"):
        spread = f"{entry['spread']:.2g}"
        noisy = f" (noisier than the ledger's other ideas: judged by its own spread of {spread})"
    return f"{entry['id']} {entry['name']}: {entry['verdict']}{numbers}{pairs}{noisy}{why}"


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
