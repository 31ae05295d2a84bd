// Where the operands of each layer lie within their number format.

import { draw, place } from "./charts.js";
import { h } from "./core.js";

const TITLES = { weight: "weight", input: "input", grad_output: "gradient of the output" };

export async function histograms(target, spreads) {
  const groups = new Map();
  for (const s of spreads) groups.set(`${s.role} ${s.format}`, [...(groups.get(`${s.role} ${s.format}`) ?? []), s]);
  const places = [...groups.values()].map(() => place());
  target.replaceChildren(h("p", { class: "soft" }, "Share of each layer's numbers by magnitude, in powers of two of the scale. Left of “to zero” all is rounded to zero; right of “largest” it saturates."), h("div", { class: "three" }, places));
  let i = 0;
  for (const group of groups.values()) await draw(places[i++], spec(group));
}

function spec(group) {
  const [first] = group;
  const rows = group.flatMap(s => s.shares.map((share, i) => ({ layer: s.layer.replace("transformer.h.", "").replace("transformer.", ""), octave: s.lowest + i, share: 100 * share }))).filter(r => r.share > 0);
  const total = new Map();
  for (const r of rows) total.set(r.octave, (total.get(r.octave) ?? 0) + r.share / group.length);
  const limits = [["to zero", first.to_zero], ["subnormal", first.subnormal], ["largest", first.largest]].map(([what, at]) => ({ what, at }));
  const x = { field: "octave", type: "quantitative", title: "log2 of magnitude / scale", scale: { nice: false, domain: [first.lowest, first.lowest + first.shares.length] } };
  const rule = { data: { values: limits }, layer: [{ mark: { type: "rule", color: "#D55E00", strokeDash: [4, 2] }, encoding: { x: { field: "at", type: "quantitative" } } }] };
  const names = { data: { values: limits }, mark: { type: "text", angle: 270, align: "right", baseline: "bottom", dx: -4, dy: -2, color: "#D55E00", fontSize: 10, y: 0 }, encoding: { x: { field: "at", type: "quantitative" }, text: { field: "what" } } };
  const zero = 100 * group.reduce((sum, s) => sum + s.zero, 0) / group.length;
  return {
    title: { text: `${TITLES[first.role]}, ${first.format} (exact zeros: ${zero.toPrecision(2)} %)`, fontSize: 12 },
    height: 220,
    layer: [
      { data: { values: [...total].map(([octave, share]) => ({ octave, end: octave + 1, share })) }, mark: { type: "bar", color: "#0072B2" }, encoding: { x, x2: { field: "end" }, y: { field: "share", type: "quantitative", title: "% per octave" }, tooltip: [{ field: "octave" }, { field: "share", format: ".3~g" }] } },
      rule, names,
    ],
  };
}
