// One ledger: the picture, and every try.

import { draw, place } from "./charts.js";
import { calmly, duration, empty, get, h, onNews, show, table } from "./core.js";

const TONES = { finding: "good", nominated: "busy", kept: "busy", parked: "warn", lost: "bad", crashed: "bad", refused: "bad" };
let name, head, plot, list, drawn = "";

export async function open(which) {
  name = which;
  [head, plot, list] = [h("section"), place(), h("section")];
  plot.style.setProperty("--tall", "430px");
  show(h("h1", { class: "title" }, name), head, plot, list);
  head.append(h("p", { class: "soft" }, "reading the ledger …"));
  await redraw();
  let seen;
  const again = calmly(redraw, 2000);
  onNews(news => { if (seen !== undefined && seen !== news.others) again(); seen = news.others; });
}

const signed = v => (v === null || v === undefined ? "…" : (v > 0 ? "+" : "") + v.toFixed(5));

async function redraw() {
  const l = await get(`idea/${encodeURIComponent(name)}`);
  head.replaceChildren(...l.head.map(line => h("p", { class: line.startsWith("champion against") ? "" : "soft" }, line.startsWith("champion against") ? h("b", {}, line) : line)));
  const key = JSON.stringify([l.points, l.reckoned]);
  if (key !== drawn) { drawn = key; await drawPicture(l); }
  const rows = l.rows.map(r => [r.id, h("code", {}, r.idea), r.reason || r.why, r.gain === null ? "" : `${signed(r.gain)} [${signed(r.low)}, ${signed(r.high)}]`, String(r.pairs), r.gear, h("span", { class: TONES[r.verdict] ?? "soft" }, r.verdict + (r.own_spread ? " (noisy)" : "")), duration(r.cost_s)]);
  list.replaceChildren(h("h2", {}, "Tries"), rows.length ? table(["", "idea", "why", "gain", "pairs", "gear", "verdict", "cost"], rows, ["pairs", "cost"]) : empty("No idea tried yet", "Try one against the champion:", `altgrad ideas try ${name} optim.lr=0.06 --why 'the default is low'`));
}

async function drawPicture(l) {
  const tries = l.points.filter(p => p.loss !== null).map(p => ({ ...p, low: p.loss - p.spread, high: p.loss + p.spread }));
  if (!tries.length) return;
  const until = Math.max(...tries.map(p => p.x)) + 1;
  const bars = l.reckoned.map((b, i) => ({ ...b, from: b.x + 0.5, until: (l.reckoned[i + 1]?.x ?? until) + 0.5 }));
  const verdicts = Object.keys(l.colours).filter(v => tries.some(p => p.verdict === v));
  const sorted = tries.map(p => p.loss).sort((a, b) => a - b), inside = sorted.slice(0, Math.max(2, Math.floor(0.92 * sorted.length)));
  const edges = [...inside, ...tries.map(p => p.champion), ...bars.flatMap(b => [b.low, b.high])].filter(v => v !== null);
  const room = 0.12 * (Math.max(...edges) - Math.min(...edges)) || 0.01;
  const y = { type: "quantitative", title: l.primary, scale: { domain: [Math.min(...edges) - room, Math.max(...edges) + room], clamp: true, nice: false } };
  const x = { field: "x", type: "quantitative", title: "tries", axis: { tickMinStep: 1, format: "d" }, scale: { domain: [0.5, until + 0.5], nice: false } };
  const colour = { field: "verdict", type: "nominal", scale: { domain: verdicts, range: verdicts.map(v => l.colours[v]) }, legend: { orient: "top", title: null } };
  const tips = [{ field: "id" }, { field: "name" }, { field: "verdict" }, { field: "loss", format: ".5f" }];
  await draw(plot, {
    height: 360, data: { values: tries },
    layer: [
      { data: { values: bars }, mark: { type: "rect", opacity: 0.25, color: l.colours.finding }, encoding: { x: { ...x, field: "from" }, x2: { field: "until" }, y: { field: "low", ...y }, y2: { field: "high" } } },
      { data: { values: bars }, mark: { type: "rule", strokeWidth: 2.5, color: l.colours.finding }, encoding: { x: { ...x, field: "from" }, x2: { field: "until" }, y: { field: "loss", ...y } } },
      { mark: { type: "line", interpolate: "step-after", color: "#888888", strokeWidth: 1.4 }, encoding: { x, y: { field: "champion", ...y } } },
      { mark: { type: "rule", strokeWidth: 1.4 }, encoding: { x, y: { field: "low", ...y }, y2: { field: "high" }, color: colour } },
      { mark: { type: "circle", size: 80, opacity: 1 }, encoding: { x, y: { field: "loss", ...y }, color: colour, tooltip: tips } },
      { transform: [{ filter: { field: "verdict", oneOf: ["finding", "nominated", "kept", "barnacle"] } }], mark: { type: "text", align: "left", dx: 8, dy: 10, fontSize: 11, limit: 220 }, encoding: { x, y: { field: "loss", ...y }, text: { field: "name" }, color: colour } },
    ],
  });
}
