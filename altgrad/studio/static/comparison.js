// One comparison while it fills: its runs, the interval narrowing with each seed; then its report.

import { draw, place, scales } from "./charts.js";
import { calmly, duration, facts, get, h, onNews, show, some, table } from "./core.js";

let name, parts, plot;

export async function open(which) {
  name = which;
  parts = Object.fromEntries(["head", "grid", "looks", "report", "differs"].map(p => [p, h("section")]));
  plot = place();
  plot.style.setProperty("--tall", "360px");
  parts.head.append(h("h1", { class: "title" }, name), h("p", { class: "soft" }, "reading its runs …"));
  show(...Object.values(parts));
  await redraw();
  const again = calmly(redraw, 1500);
  let others;
  onNews(news => { if (news.all || news.runs.length || news.others !== others) again(); others = news.others; });
}

async function redraw() {
  const c = await get(`comparison/${encodeURIComponent(name)}`);
  c.arms = [c.control, ...c.arms.filter(a => a !== c.control)];
  const s = await scales(c.arms, c.control);
  drawHead(c, s);
  drawGrid(c, s);
  await drawLooks(c, s);
  const rows = Object.entries(c.differs).flatMap(([arm, d]) => Object.entries(d).map(([setting, [from, to]]) => [arm, h("code", {}, setting), String(from), String(to)]));
  parts.differs.replaceChildren(...(rows.length ? [h("h2", {}, "Settings in which the arms differ"), table(["arm", "setting", c.control, "arm's"], rows)] : []));
  if (c.report && !parts.report.childElementCount) {
    const place = `/report/${encodeURIComponent(name)}`;
    parts.report.append(h("h2", {}, "The report"), h("p", {}, h("a", { href: place, target: "_blank", rel: "noopener" }, "on a page of its own")), h("iframe", { class: "report", src: place, sandbox: "allow-scripts allow-downloads", title: "report", loading: "lazy" }));
  }
}

function drawHead(c, s) {
  const left = c.complete ? "" : c.left_s === null ? "no run has ended yet" : `about ${duration(c.left_s)} of training left, one run after another`;
  const verdicts = c.verdicts.map(v => h("div", { class: "card", style: { "--colour": s.colour(v.split(": ")[0]) } }, h("b", {}, v)));
  parts.head.replaceChildren(h("h1", { class: "title" }, c.question.question),
    h("p", { class: "soft" }, h("b", { class: c.complete ? "good" : "busy" }, `${c.ended} of ${c.runs} runs have ended`), left ? ` · ${left}` : "", c.question.until_decided ? ` · judged after every seed, up to ${c.seeds_at_most}` : ""),
    h("span", { class: "progress busy" }, h("i", { style: { width: `${c.runs ? (100 * c.ended) / c.runs : 0}%` } })),
    verdicts.length ? h("div", { class: "cards" }, verdicts) : "",
    facts([["outcome", `${c.question.primary}, ${c.question.higher_is_better ? "higher" : "lower"} is better`], ["smallest difference that matters", some(c.question.delta)], ["equal", c.question.budget], [c.complete ? "ask it again" : "go on with", h("code", {}, c.command)]]));
}

function drawGrid(c, s) {
  const seeds = [...new Set(c.cells.map(x => x.seed))], by = new Map(c.cells.map(x => [`${x.arm} ${x.seed}`, x]));
  const cell = (arm, seed) => {
    const x = by.get(`${arm} ${seed}`);
    if (!x) return h("span", { class: "cell waiting" }, "");
    const text = x.outcome !== null ? x.outcome.toPrecision(3) : x.state === "running" ? `${Math.round((100 * x.step) / (x.max_steps || 1))}%` : x.state === "waiting" ? "" : x.state.slice(0, 4);
    return h(x.state === "waiting" ? "span" : "a", { class: `cell ${x.state}`, href: x.state === "waiting" ? null : `/run/${encodeURIComponent(x.run)}`, title: `${arm}, seed ${seed}: ${x.state}${x.outcome !== null ? `, ${x.outcome}` : ""}` }, text);
  };
  const grid = h("div", { class: "grid", style: { "grid-template-columns": `minmax(6rem, max-content) repeat(${seeds.length}, 2.6rem)` } },
    h("span", { class: "soft" }, "arm \\ seed"), seeds.map(seed => h("span", { class: "soft", style: { "text-align": "center" } }, seed)),
    c.arms.map(arm => [h("span", { class: "chip", style: { "--colour": s.colour(arm) } }, arm + (arm === c.control ? " (control)" : "")), seeds.map(seed => cell(arm, seed))]));
  parts.grid.replaceChildren(h("h2", {}, "Runs"), grid);
}

async function drawLooks(c, s) {
  const rows = c.looks.filter(l => l.mean !== null);
  if (!rows.length) return parts.looks.replaceChildren(h("h2", {}, "Difference from the control, pair by pair"), h("p", { class: "soft" }, "Two runs of one seed, the control's and an arm's, make the first pair."));
  if (!plot.isConnected) parts.looks.replaceChildren(h("h2", {}, "Difference from the control, pair by pair"), h("p", { class: "soft" }, "The mean over the pairs so far, and its interval as it narrows. Grey: differences that were declared not to matter. The verdict is given once, at the end, by the rules that were fixed before."), plot);
  const others = c.arms.filter(a => a !== c.control);
  const scale = { domain: others, range: others.map(s.colour) };
  const better = c.question.higher_is_better ? ["← worse", "better →"] : ["← better", "worse →"];
  const y = { type: "quantitative", title: `${better[0]} · arm − control · ${better[1]}` };
  const last = rows.filter(r => r.pairs >= Math.min(3, Math.max(...rows.map(q => q.pairs)))), near = last.flatMap(r => [r.low ?? r.mean, r.high ?? r.mean]);
  const room = 0.15 * (Math.max(...near) - Math.min(...near) || c.question.delta), domain = [Math.min(...near, -c.question.delta) - room, Math.max(...near, c.question.delta) + room];
  const shift = { field: "arm", scale: { domain: others } };
  const x = { field: "pairs", type: "ordinal", title: "pairs of runs", axis: { labelAngle: 0 } };
  const colour = { field: "arm", type: "nominal", scale, legend: { orient: "top", title: null, symbolType: "circle" } };
  const within = { ...y, scale: { domain, clamp: true, nice: false } };
  const tips = [{ field: "arm" }, { field: "pairs" }, { field: "mean", format: "+.5f" }, { field: "low", format: "+.5f" }, { field: "high", format: "+.5f" }];
  await draw(plot, {
    height: 320, data: { values: rows },
    layer: [
      { data: { values: [{ low: -c.question.delta, high: c.question.delta }] }, mark: { type: "rect", color: "#999999", opacity: 0.18 }, encoding: { y: { field: "low", ...within }, y2: { field: "high" } } },
      { data: { values: [{ at: 0 }] }, mark: { type: "rule", color: "#888888" }, encoding: { y: { field: "at", ...within } } },
      { transform: [{ filter: "isValid(datum.low)" }], mark: { type: "rule", strokeWidth: 3, clip: true }, encoding: { x, xOffset: shift, y: { field: "low", ...within }, y2: { field: "high" }, color: colour, tooltip: tips } },
      { mark: { type: "point", filled: true, size: 90, opacity: 1 }, encoding: { x, xOffset: shift, y: { field: "mean", ...within }, color: colour, shape: { field: "arm", legend: colour.legend, scale: { domain: others, range: others.map(s.shape) } }, tooltip: tips } },
    ],
  });
}
