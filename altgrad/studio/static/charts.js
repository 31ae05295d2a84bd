// Drawings: Vega-Lite specs as the report has them, in the page's colours, without code out of texts.

import { get, h } from "./core.js";

let loading;
function library() {
  loading ??= new Promise((done, fail) => {
    const script = h("script", { src: "/static/vega.js" });
    script.onload = () => done(window.vegaEmbed);
    script.onerror = () => fail(new TypeError("drawings need pip install 'altgrad[report]', then start the studio again"));
    document.head.append(script);
  });
  return loading;
}

let known;
export const about = () => (known ??= get("about"));

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();

function config() {
  const soft = getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
  const line = getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
  const axis = { labelFontSize: 12, titleFontSize: 12, labelLimit: 170, gridColor: line, domainColor: soft, tickColor: soft, labelColor: soft, titleColor: soft, gridOpacity: 0.7 };
  return { background: null, view: { stroke: line }, axis, legend: { labelFontSize: 12, labelColor: ink(), titleColor: soft, labelLimit: 260 }, title: { color: ink(), fontSize: 13, anchor: "start", fontWeight: 600 }, font: "system-ui, sans-serif" };
}

const views = new WeakMap();

// Draws `spec` into `place`, whose height is kept while it is drawn anew: nothing jumps.
export async function draw(place, spec) {
  const embed = await library();
  const old = views.get(place);
  if (place.offsetHeight) place.style.minHeight = `${place.offsetHeight}px`;
  const whole = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", ...spec, config: { ...config(), ...spec.config } };
  const made = await embed(place, whole, { ast: true, renderer: "canvas", actions: false, defaultStyle: false, tooltip: { disableDefaultStyle: true, theme: "studio" } });
  old?.finalize();
  views.set(place, made);
  redraws.set(place, () => draw(place, spec));
  place.setAttribute("role", "img");
  return made.view;
}

const redraws = new Map();
dark.addEventListener("change", () => redraws.forEach((again, place) => (place.isConnected ? again() : redraws.delete(place))));

export const place = (low = false) => h("div", { class: low ? "plot low" : "plot" });

// -- colours of arms, as in the report: the control grey, the others Okabe and Ito's ------------------

export async function scales(names, control) {
  const { colours, grey, dashes, shapes } = await about();
  const others = names.filter(n => n !== control);
  const visible = c => (c === "#000000" && dark.matches ? "#eeeeee" : c);
  const of = (n, list, first) => (n === control ? first : list[others.indexOf(n) % list.length]);
  return {
    colour: n => visible(of(n, colours, grey)),
    range: names.map(n => visible(of(n, colours, grey))),
    dashes: names.map((n, i) => dashes[i % dashes.length]),
    shape: n => shapes[names.indexOf(n) % shapes.length],
  };
}

const FEW = { expr: "max(2, floor(width / 110))" };
const X_TITLES = { step: "step", tokens: "tokens", flops: "FLOPs", seconds: "seconds of training" };

// runs: [{name, points}]; a gap where a value is null. marks: [{x, what}] drawn as rules.
export async function curves(runs, { x, title, logX, logY, smoothed, marks = [], height = 320, legend = true }) {
  const names = runs.map(r => r.name), s = await scales(names);
  const values = runs.flatMap(r => r.points.map(([at, value]) => ({ run: r.name, x: at, y: value })))
    .filter(v => (!logX || v.x > 0) && (!logY || v.y === null || v.y > 0));
  const few = values.length < 60 * names.length;
  const xs = { field: "x", type: "quantitative", title: X_TITLES[x], scale: { type: logX ? "log" : "linear", zero: false, nice: false }, axis: { tickCount: FEW, format: x === "step" ? "d" : "~s" } };
  const ys = { field: "y", type: "quantitative", title, scale: { type: logY ? "log" : "linear", zero: false } };
  const shown = legend && names.length > 1 ? { orient: "top", title: null, columns: { expr: "width < 420 ? 1 : 3" }, symbolType: "stroke", symbolStrokeWidth: 3, symbolSize: 300, symbolOpacity: 1 } : null;
  const colour = { field: "run", type: "nominal", scale: { domain: names, range: s.range }, legend: shown };
  const dash = { field: "run", type: "nominal", scale: { domain: names, range: s.dashes }, legend: shown };
  const faint = runs.filter(r => r.faint).map(r => r.name);
  const opacity = faint.length ? { value: 1, condition: { test: { field: "run", oneOf: faint }, value: 0.35 } } : { value: 1 };
  const tips = [{ field: "run", title: "run" }, { field: "x", title: x, format: x === "step" ? "d" : ".4~s" }, { field: "y", title, format: ".5~g" }];
  const layer = [
    { mark: { type: "line", strokeWidth: smoothed ? 2.2 : 1.5, invalid: "break-paths-filter-domains", point: few ? { size: 22, filled: true } : false }, encoding: { x: xs, y: ys, color: colour, strokeDash: dash, opacity } },
    { mark: { type: "point", size: 80, opacity: 0 }, encoding: { x: xs, y: ys, tooltip: tips } },
  ];
  const lines = marks.filter(m => !logX || m.x > 0);
  if (lines.length) layer.push({ data: { values: lines }, mark: { type: "rule", strokeWidth: 1.5, strokeDash: [3, 3], color: "#D55E00", tooltip: true }, encoding: { x: { field: "x", type: "quantitative" }, tooltip: [{ field: "x", title: "step" }, { field: "what", title: "alert" }] } });
  return { data: { values }, height, layer };
}

export function heat({ layers, steps, values, title }) {
  const rows = layers.flatMap((layer, i) => steps.map((step, j) => ({ layer, step, value: values[i][j] })));
  const tall = Math.max(4, Math.min(16, 900 / layers.length));
  return {
    data: { values: rows }, height: { step: tall }, autosize: { type: "fit-x", contains: "padding" },
    mark: { type: "rect", tooltip: true },
    encoding: {
      x: { field: "step", type: "ordinal", axis: { labelAngle: 0, labelOverlap: true } },
      y: { field: "layer", type: "nominal", sort: layers, title: null, axis: { labelFontSize: tall < 11 ? 8 : 10, labelOverlap: true } },
      color: { field: "value", type: "quantitative", title: null, scale: { scheme: "viridis" }, condition: { test: "datum.value === null", value: "#888888" } },
      tooltip: [{ field: "layer" }, { field: "step" }, { field: "value", format: ".4~g" }],
    },
    title: { text: title, fontSize: 12 },
  };
}
