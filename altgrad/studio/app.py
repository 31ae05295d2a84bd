"""The page's addresses and what answers at each. Texts leave as JSON only: no data is ever HTML.

GET  /  /run/NAME  /curves  /comparisons …   one empty page; its modules fetch what they show
GET  /static/FILE                            modules, sheets, Vega
GET  /api/…                                  JSON
GET  /api/live                               server-sent events
GET  /report/NAME                            a comparison's own report, in a sandbox
POST /api/run/NAME/stop|resume|…             only with the token of the printed link
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad.compare.filling import Kept
from altgrad.interchange.local_server import error_of, only_for, read_body
from altgrad.runs import plain
from altgrad.runs.plots import COLOURS, DASHES, GREY, SHAPES
from altgrad.settings import ConfigError, require
from altgrad.studio import heavy
from altgrad.studio.card import Card
from altgrad.studio.comparisons import all_comparisons, comparison, report_file
from altgrad.studio.control import Resumes, is_token, new_token, stop
from altgrad.studio.curves import AXES, SMOOTHING, Shelf, drawn
from altgrad.studio.formats_page import catalogue, chosen_formats
from altgrad.studio.idea_pages import all_ledgers, ledger_folder
from altgrad.studio.index import Index
from altgrad.studio.libraries import PAGE, Vega, report_sheet, static_file
from altgrad.studio.live import changes
from altgrad.studio.numerics import heat_maps
from altgrad.studio.places import NotHereError
from altgrad.studio.query import COLUMNS, Query, differences, table
from altgrad.studio.run_page import run_page
from altgrad.studio.workshop import Workshop

PAGES = ("/", "/curves", "/comparisons", "/ideas", "/formats", "/text")
MOST_CURVES = 12
MOST_KEPT = 20_000
"""Ended runs of comparisons that are not read again at each look."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline' "
    "'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)
"""A report carries its own scripts, and may be a stranger's: it runs apart and reaches nothing."""


@dataclass
class Studio:
    """What the answers are made of."""

    index: Index
    token: str = field(default_factory=new_token)
    trusted: tuple[str, ...] = ()
    stopping: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.shelf, self.vega = Shelf(), Vega()
        self.workshop, self.resumes = Workshop(self.trusted), Resumes(self.trusted)
        self.flops: dict[tuple[str, ...], float] = {}
        self.kept: dict[str, Kept] = {}

    @property
    def base(self) -> Path:
        return self.index.base

    def card(self, name: str) -> Card:
        """Raises NotHereError."""
        card = self.index.get(name)
        if card is None:
            raise NotHereError(f"there is no run {name!r} below {self.base}")
        if card.trouble:
            raise NotHereError(f"{name}: {card.trouble}")
        return card

    def flops_of(self, card: Card) -> float:
        """A step's, counted once for all runs of one shape."""
        pairs = zip(card.names, card.values, strict=True)
        shape = tuple(v for n, v in pairs if n.startswith(("model.", "data.batch", "accum", "dev")))
        if shape not in self.flops:
            self.flops[shape] = self.workshop.do(heavy.flops_per_step, card.path)
        return self.flops[shape]

    def close(self) -> None:
        self.index.close()
        self.workshop.close()


def make_app(studio: Studio, hosts: Collection[str] | None = None) -> Any:
    """The Starlette application; with `hosts` only for requests to (and from pages of) these."""
    from starlette.applications import Starlette

    app: Any = Starlette(routes=_routes(studio))
    app = _with_headers(app, studio)
    return app if hosts is None else only_for(hosts, app)


def _routes(studio: Studio) -> list[Any]:
    from starlette.requests import Request
    from starlette.responses import FileResponse, Response, StreamingResponse
    from starlette.routing import Route

    def page(_: Request) -> Response:
        return FileResponse(PAGE, media_type="text/html")

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name == "vega.js":
            script = studio.vega.script()
            kind = "text/javascript"
            return Response(script or b"", 200 if script else 404, media_type=kind)
        if name == "report.css":
            return Response(report_sheet(), media_type="text/css")
        found = static_file(name)
        return Response(found[0], media_type=found[1]) if found else Response(status_code=404)

    async def live(request: Request) -> Response:
        async def gone() -> bool:
            return studio.stopping() or await request.is_disconnected()

        stream = changes(studio.index, gone)
        return StreamingResponse(stream, media_type="text/event-stream")

    def report(request: Request) -> Response:
        path = report_file(studio.base, request.path_params["name"])
        if path is None:
            return Response("no report yet", 404)
        return FileResponse(path, media_type="text/html", headers={"csp": REPORT_POLICY})

    answers = [Route(f"/api/{place}", _answer(studio, make)) for place, make in ANSWERS.items()]
    deeds = [
        Route(f"/api/{place}", _deed(studio, do), methods=["POST"]) for place, do in DEEDS.items()
    ]
    pages = [Route(place, page) for place in PAGES]
    named = [Route(f"/{kind}/{{name}}", page) for kind in ("run", "comparison", "idea")]
    return [
        *pages,
        *named,
        Route("/static/{name}", static),
        Route("/report/{name}", _refusing(report)),
        Route("/api/live", live),
        *answers,
        *deeds,
    ]


# -- what is answered -----------------------------------------------------------------------------


def _about(studio: Studio, _: Any) -> dict[str, Any]:
    """What every page needs: the place, the colours of arms, what can be chosen."""
    return {
        "runs": str(studio.base),
        "colours": COLOURS,
        "grey": GREY,
        "dashes": DASHES,
        "shapes": SHAPES,
        "axes": AXES,
        "smoothing": list(SMOOTHING),
        "sorts": list(COLUMNS),
        "precisions": _precisions(),
        "most_curves": MOST_CURVES,
    }


def _precisions() -> list[str]:
    from altgrad.compose import preset_names

    return sorted(n for n in preset_names()["precision"] if n not in ("auto", "fp8_native"))


def _runs(studio: Studio, request: Any) -> dict[str, Any]:
    asked = request.query_params
    query = Query(
        words=asked.get("words", ""),
        sort=asked.get("sort", "newest"),
        down=asked.get("down", "1") == "1",
        first=_number(asked.get("first", "0")),
        count=_number(asked.get("count", "50")),
    )
    return table(studio.index, query)


def _number(text: str) -> int:
    require(text.isdigit() and len(text) < 10, f"{text!r} must be a whole number.")
    return int(text)


def _run(studio: Studio, request: Any) -> dict[str, Any]:
    return run_page(studio.card(request.path_params["name"]), studio.base)


def _heat_maps(studio: Studio, request: Any) -> list[dict[str, Any]]:
    return heat_maps(studio.card(request.path_params["name"]))


def _curves(studio: Studio, request: Any) -> dict[str, Any]:
    asked = request.query_params
    cards = _cards(studio, asked)
    how = {"name": asked.get("name", "loss"), "axis": asked.get("x", "step")}
    smoothing = asked.get("smooth", "none")
    return drawn(cards, studio.shelf, smoothing=smoothing, flops=studio.flops_of, **how)


def _cards(studio: Studio, asked: Any) -> list[Card]:
    names = list(dict.fromkeys(asked.getlist("run")))
    require(bool(names), "choose runs first: /curves?run=NAME&run=OTHER")
    require(len(names) <= MOST_CURVES, f"at most {MOST_CURVES} runs at a time.")
    return [studio.card(name) for name in names]


def _differences(studio: Studio, request: Any) -> list[dict[str, Any]]:
    cards = _cards(studio, request.query_params)
    return [{"name": name, "values": values} for name, values in differences(cards)]


def _comparisons(studio: Studio, _: Any) -> list[dict[str, Any]]:
    return all_comparisons(studio.base)


def _comparison(studio: Studio, request: Any) -> dict[str, Any]:
    name = request.path_params["name"]
    if sum(map(len, studio.kept.values())) > MOST_KEPT:
        studio.kept.clear()
    return comparison(studio.base, name, studio.kept.setdefault(name, {}))


def _ideas(studio: Studio, _: Any) -> list[dict[str, Any]]:
    return all_ledgers(studio.base)


def _idea(studio: Studio, request: Any) -> Any:
    folder = ledger_folder(studio.base, request.path_params["name"])
    return {"name": folder.name, **studio.workshop.do(heavy.ledger, folder)}


def _formats(_: Studio, request: Any) -> dict[str, Any]:
    asked = request.query_params
    names = [n for n in asked.get("names", "").split(",") if n]
    try:
        x = float(asked.get("x", "0.3"))
    except ValueError:
        raise ConfigError(f"{asked.get('x')!r} is not a number.") from None
    return {"catalogue": catalogue(), "chosen": chosen_formats(names, x), "x": x}


ANSWERS: dict[str, Callable[[Studio, Any], Any]] = {
    "about": _about,
    "runs": _runs,
    "run/{name}": _run,
    "run/{name}/heat": _heat_maps,
    "curves": _curves,
    "differences": _differences,
    "comparisons": _comparisons,
    "comparison/{name}": _comparison,
    "ideas": _ideas,
    "idea/{name}": _idea,
    "formats": _formats,
}


# -- what is done, with the token only ------------------------------------------------------------


def _stop(_: Studio, card: Card, __: dict[str, Any]) -> dict[str, str]:
    stop(card.path)
    return {"said": f"{card.name} takes its step to the end, saves and stops"}


def _resume(studio: Studio, card: Card, _: dict[str, Any]) -> dict[str, str]:
    studio.resumes.resume(card.path)
    return {"said": f"{card.name} goes on"}


def _histograms(studio: Studio, card: Card, _: dict[str, Any]) -> Any:
    return studio.workshop.do(heavy.operand_histograms, card.path)


def _checkpoints(studio: Studio, card: Card, _: dict[str, Any]) -> Any:
    return studio.workshop.do(heavy.checked_checkpoints, card.path)


def _odds(studio: Studio, card: Card, body: dict[str, Any]) -> Any:
    text, precision = body.get("text"), body.get("precision")
    require(isinstance(text, str) and isinstance(precision, str), "text and precision are texts.")
    require(precision in _precisions(), f"precision={precision!r} is not known here.")
    return studio.workshop.do(heavy.next_token_odds, card.path, text, precision)


DEEDS: dict[str, Callable[[Studio, Card, dict[str, Any]], Any]] = {
    "run/{name}/stop": _stop,
    "run/{name}/resume": _resume,
    "run/{name}/histograms": _histograms,
    "run/{name}/checkpoints": _checkpoints,
    "run/{name}/odds": _odds,
}
"""The last three change nothing, but follow what a run's settings say: tokens and checkpoints may
lie elsewhere. So they too are only for whoever started the page."""


# -- around them ----------------------------------------------------------------------------------


def _answer(studio: Studio, make: Callable[[Studio, Any], Any]) -> Any:
    from starlette.responses import JSONResponse

    def answer(request: Any) -> Any:
        return JSONResponse(plain(make(studio, request)))

    return _refusing(answer)


def _deed(studio: Studio, do: Callable[[Studio, Card, dict[str, Any]], Any]) -> Any:
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    async def deed(request: Any) -> Any:
        given = request.headers.get("x-altgrad-token", "")
        if not is_token(given, studio.token):
            told = "only with the token of the link that `altgrad studio` printed"
            return JSONResponse(error_of(told), 403)
        try:
            body = await read_body(request) if await _has_body(request) else {}
            card = await run_in_threadpool(studio.card, request.path_params["name"])
            return JSONResponse(plain(await run_in_threadpool(do, studio, card, body)))
        except NotHereError as error:
            return JSONResponse(error_of(error), 404)
        except (ValueError, OSError) as error:
            return JSONResponse(error_of(error), 400)

    return deed


async def _has_body(request: Any) -> bool:
    return request.headers.get("content-length", "0") != "0"


def _refusing(make: Callable[[Any], Any]) -> Any:
    """What is not there is 404, what cannot be done 400; both say why."""
    from starlette.responses import JSONResponse

    def answer(request: Any) -> Any:
        try:
            return make(request)
        except NotHereError as error:
            return JSONResponse(error_of(error), 404)
        except (ValueError, OSError) as error:
            return JSONResponse(error_of(error), 400)

    return answer


def _with_headers(app: Any, studio: Studio) -> Any:
    """Every answer says what its page may do; nothing is kept by the browser."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = dict(message["headers"])
                policy = given.pop(b"csp", POLICY.encode())
                message["headers"] = [*given.items(), *_headers(policy)]
            await send(message)

        try:
            await app(scope, receive, with_headers if scope["type"] == "http" else send)
        except asyncio.CancelledError:  # Ctrl-C does not wait for what a thread still reads
            if not studio.stopping():
                raise

    return wrapped


def _headers(policy: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-security-policy", policy),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    ]
