// Number formats: their grids, a typed number in each of them, what they lose of a bell curve.

import { draw, place, scales } from "./charts.js";
import { empty, get, h, show, some, table, toast } from "./core.js";

const address = new URLSearchParams(location.search);
let names = (address.get("names") ?? "e4m3,e5m2,e3m4").split(",").filter(Boolean), x = address.get("x") ?? "0.3";
let chips, plots, near;

export async function open() {
  show(h("h1", { class: "title" }, "Number formats"));
  const answer = await asked().catch(error => { toast(error.message); [names, x] = [[], "0.3"]; return asked(); });
  const known = h("datalist", { id: "known" }, answer.catalogue.map(f => h("option", { value: f.name })));
  const add = h("input", { list: "known", id: "add", size: 26, placeholder: "add a format: e2m3fn …", "aria-label": "Add a format", onchange: e => { const wish = e.target.value.trim(); e.target.value = ""; if (wish && !names.includes(wish)) change([...names, wish]); } });
  const number = h("input", { id: "number", value: x, inputmode: "decimal", size: 10, "aria-label": "A number", onchange: e => { x = e.target.value.trim(); redraw().catch(error => toast(error.message)); } });
  [chips, near] = [h("div"), h("section")];
  plots = { line: place(true), log: place(true), spacing: place(), bell: place() };
  await numbersOf(answer.chosen); // before anything is shown: what comes later would push the rest down
  show(h("h1", { class: "title" }, "Number formats"), chips, h("div", { class: "bar" }, add, known, h("label", {}, "the number", number)),
    near, h("h2", {}, "Where the numbers are"), h("div", { class: "two" }, plots.line, plots.log),
    h("div", { class: "two" }, h("div", {}, h("h2", {}, "How finely they divide it"), plots.spacing), h("div", {}, h("h2", {}, "What a bell curve loses"), h("p", { class: "soft" }, "Signal to noise of N(0, σ²) rounded to nearest, exactly, over how many standard deviations the largest number lies out."), plots.bell)),
    h("details", {}, h("summary", {}, `All ${answer.catalogue.length} formats with a name`), table(Object.keys(answer.catalogue[0]).filter(k => k !== "source"), answer.catalogue.map(f => Object.entries(f).filter(([k]) => k !== "source").map(([k, v]) => (k === "name" ? h("button", { onclick: () => change([...new Set([...names, v])]) }, v) : some(v)))))));
  await fill(answer.chosen);
}

const asked = () => get("formats", { names: names.join(","), x });

function change(wish) {
  const before = names;
  names = wish;
  redraw().catch(error => { toast(error.message); names = before; });
}

async function redraw() {
  const { chosen } = await asked();
  history.replaceState(null, "", `?${new URLSearchParams({ names: names.join(","), x })}`);
  await numbersOf(chosen);
  await fill(chosen);
}

async function numbersOf(chosen) {
  const s = await scales(names);
  chips.replaceChildren(...names.map(n => h("span", { class: "chip", style: { "--colour": s.colour(n) } }, n, h("button", { "aria-label": `leave ${n} out`, onclick: () => change(names.filter(m => m !== n)) }, "×"))));
  near.replaceChildren(...(chosen.length ? numbers(chosen) : [empty("No format chosen", "Type one above, for example", "e4m3", "e5m2", "e3m2fn")]));
}

async function fill(chosen) {
  if (chosen.length) await drawAll(chosen, await scales(names));
}

function numbers(chosen) {
  const modes = chosen[0].rounded.map(r => r.mode);
  const cell = r => (r.chances ? r.chances.map(([v, p]) => `${some(v, 6)} (${some(100 * p, 3)}\u00a0%)`).join(", ") : `${some(r.value, 6)}  (${r.error > 0 ? "+" : ""}${some(r.error, 3)})`);
  const rounded = table(["format", "spacing there", ...modes.map(m => m.replace("_", " "))], chosen.map((c, i) => [names[i], some(c.ulp), ...c.rounded.map(cell)]));
  const codes = chosen.map((c, i) => h("div", {}, h("h3", {}, `${names[i]} near ${x}`), c.near.length ? table(["code", "bits", "number"], c.near.map(n => [`0x${n.code.toString(16).padStart(2, "0")}`, h("code", {}, n.bits), some(n.value, 8)]), ["number"]) : h("p", { class: "soft" }, "too many codes to list")));
  return [h("h2", {}, `${x} rounded, with its error`), rounded, h("details", { open: true }, h("summary", {}, "The codes around it"), h("div", { class: "many" }, codes))];
}

async function drawAll(chosen, s) {
  const given = chosen.map((c, i) => ({ ...c, name: names[i] })), drawable = given.filter(c => c.values.length);
  const colour = { field: "format", type: "nominal", scale: { domain: names, range: s.range }, legend: null };
  const top = { ...colour, legend: { orient: "top", title: null, symbolType: "stroke", symbolStrokeWidth: 3 } };
  const dash = { field: "format", scale: { domain: names, range: s.dashes }, legend: top.legend };
  const y = { field: "format", type: "nominal", sort: names, title: null };
  const at = +x;
  const rows = drawable.flatMap(c => c.values.map(v => ({ format: c.name, value: v, scaled: v / c.facts.max })));
  const ticks = { type: "tick", thickness: 1, size: 22, tooltip: true };
  const tips = [{ field: "format" }, { field: "value", format: ".6~g" }];
  await draw(plots.line, { data: { values: rows }, height: { step: 34 }, autosize: { type: "fit-x", contains: "padding" }, mark: ticks, encoding: { x: { field: "scaled", type: "quantitative", title: "number / largest number of the format", scale: { nice: false } }, y, color: colour, tooltip: tips } });
  await draw(plots.log, { data: { values: rows.filter(r => r.value > 0) }, height: { step: 34 }, autosize: { type: "fit-x", contains: "padding" }, layer: [{ mark: ticks, encoding: { x: { field: "value", type: "quantitative", title: "magnitude", scale: { type: "log", base: 2, nice: false }, axis: { tickCount: 8, format: ".2~g", labelOverlap: true } }, y, color: colour, tooltip: tips } }, ...(at > 0 ? [{ data: { values: [{ at }] }, mark: { type: "rule", color: "#888888", strokeDash: [4, 3] }, encoding: { x: { field: "at", type: "quantitative" } } }] : [])] });
  const spacing = drawable.flatMap(c => c.spacing.map(([v, r]) => ({ format: c.name, magnitude: v, spacing: r })));
  const log = (field, title) => ({ field, type: "quantitative", title, scale: { type: "log", base: 2, nice: false }, axis: { tickCount: 7, format: ".2~g", labelOverlap: true } });
  await draw(plots.spacing, { data: { values: spacing }, height: 260, mark: { type: "line", interpolate: "step-after", strokeWidth: 1.8, tooltip: true }, encoding: { x: log("magnitude", "magnitude"), y: log("spacing", "spacing / magnitude"), color: top, strokeDash: dash } });
  const bell = drawable.flatMap(c => c.bell.map(([out, db]) => ({ format: c.name, out: 2 ** out, db })));
  await draw(plots.bell, { data: { values: bell }, height: 260, mark: { type: "line", strokeWidth: 1.8, tooltip: true }, encoding: { x: log("out", "largest number, in standard deviations"), y: { field: "db", type: "quantitative", title: "signal to noise (dB)", scale: { zero: false } }, color: top, strokeDash: dash } });
}
