// Curves of several runs, and the settings in which they differ.

import { scales, curves, draw, place, about } from "./charts.js";
import { calmly, get, h, onNews, select, show, table, toast } from "./core.js";

const address = new URLSearchParams(location.search);
const names = address.getAll("run");
const wish = { name: "loss", x: "step", smooth: "none", logx: "", logy: "", ...Object.fromEntries([...address].filter(([k]) => k !== "run")) };
let plot, bar, chips, differing;

export async function open() {
  plot = place();
  plot.style.setProperty("--tall", "440px");
  bar = h("div", { class: "bar" });
  chips = h("div");
  differing = h("div");
  show(h("h1", { class: "title" }, "Curves"), chips, bar, plot, h("h2", {}, "Settings in which they differ"), differing);
  await Promise.all([drawChips(), redraw(), drawDifferences()]);
  const again = calmly(redraw, 1500);
  onNews(news => news.runs.some(n => names.includes(n)) && again());
}

async function drawChips() {
  const s = await scales(names);
  chips.replaceChildren(...names.map(name => h("span", { class: "chip", style: { "--colour": s.colour(name) } },
    h("a", { href: `/run/${encodeURIComponent(name)}` }, name),
    h("button", { title: `leave ${name} out`, "aria-label": `leave ${name} out`, onclick: () => leave(name) }, "×"))));
}

function leave(name) {
  const rest = names.filter(n => n !== name);
  location.href = rest.length ? `/curves?${words(rest)}` : "/";
}

const words = runs => new URLSearchParams([...runs.map(n => ["run", n]), ...Object.entries(wish).filter(([, v]) => v)]);

async function redraw() {
  const answer = await get("curves", { run: names, name: wish.name, x: wish.x, smooth: wish.smooth });
  const known = await about();
  const choose = key => value => { wish[key] = value; history.replaceState(null, "", `?${words(names)}`); redraw().catch(e => toast(e.message)); };
  const tick = (key, label) => h("label", {}, h("input", { type: "checkbox", class: "pick", checked: !!wish[key], onchange: e => choose(key)(e.target.checked ? "1" : "") }), label);
  if (!bar.contains(document.activeElement)) bar.replaceChildren(
    select("metric", answer.names.includes(wish.name) ? answer.names : [wish.name, ...answer.names], wish.name, choose("name")),
    select("over", known.axes, wish.x, choose("x")), select("smoothing", known.smoothing, wish.smooth, choose("smooth")),
    tick("logx", "log across"), tick("logy", "log up"));
  const spec = await curves(answer.runs, { x: answer.x, title: answer.name, logX: wish.logx, logY: wish.logy, smoothed: wish.smooth !== "none", height: 400 });
  await draw(plot, spec);
}

async function drawDifferences() {
  if (names.length < 2) return differing.replaceChildren(h("p", { class: "soft" }, "Choose several runs in the table to see in which settings they differ."));
  const rows = await get("differences", { run: names });
  differing.replaceChildren(rows.length ? table(["setting", ...names], rows.map(r => [h("code", {}, r.name), ...r.values.map(v => v ?? h("span", { class: "soft" }, "not there"))])) : h("p", { class: "soft" }, "In none."));
}
