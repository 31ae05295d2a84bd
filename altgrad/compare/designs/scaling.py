"""One axis over a ladder of sizes: does a difference last as the model grows?

Each rung is a comparison of its own, of design one; what is judged over them is in
`compare/scaling`.
"""

from altgrad.compare.designs.design import Design, all_but_the_control
from altgrad.compare.designs.one import cross
from altgrad.compare.designs.planned import Asked, Planned
from altgrad.settings import require


def _check(asked: Asked) -> None:
    asked.ladder.check(asked.base, asked.arms)
    require(
        not asked.until_decided,
        "design=scaling takes a fixed number of seeds (its trend is judged once); write seeds=5.",
    )


def _sentence(asked: Asked) -> str:
    others, names = " or ".join(all_but_the_control(asked)), asked.ladder.names()
    return (
        f"How does the difference of {others} from {asked.control} in {asked.primary} go with "
        f"size, {names[0]} to {names[-1]}?"
    )


def _contrasts(asked: Asked) -> list[Planned]:
    return []


DESIGN = Design(_check, cross, _sentence, _contrasts, all_but_the_control)
