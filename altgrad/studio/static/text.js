// One text: what a run expects after each token, and what the same weights expect in another precision.

import { about, draw, place } from "./charts.js";
import { empty, get, h, post, select, show, some, toast, token } from "./core.js";

const address = new URLSearchParams(location.search);
let run = address.get("run") ?? "", precision = address.get("precision") ?? "e2m5", answer, at, head = 0, layer = 0;
let text, button, out, maps;

export async function open() {
  show(h("h1", { class: "title" }, "One text, two precisions"));
  const [{ rows }, known] = await Promise.all([get("runs", { count: 200, sort: "newest" }), about()]);
  const names = rows.filter(r => ["finished", "interrupted", "running"].includes(r.status)).map(r => r.name);
  show(h("h1", { class: "title" }, "One text, two precisions"));
  if (!names.length) return show(h("h1", { class: "title" }, "One text, two precisions"), empty("No run to ask yet", "Train one that has a tokenizer; then its odds for the next token stand here, under two precisions.", "altgrad train"));
  if (!token()) return show(h("h1", { class: "title" }, "One text, two precisions"), empty("Open the link with the token", "Asking a model loads its weights, so it needs the link that altgrad studio printed."));
  if (!names.includes(run)) run = names[0];
  text = h("textarea", { "aria-label": "Text", spellcheck: "false" });
  text.value = address.get("text") ?? "To be, or not to be";
  button = h("button", { class: "main", id: "ask", onclick: ask }, "Read it");
  [out, maps] = [h("section"), place()];
  text.addEventListener("keydown", e => (e.ctrlKey || e.metaKey) && e.key === "Enter" && ask());
  const others = known.precisions.includes(precision) ? known.precisions : [precision, ...known.precisions];
  show(h("h1", { class: "title" }, "One text, two precisions"), h("p", { class: "soft" }, "What a run expects after each token as it was trained, beside what the same weights expect when they compute in another precision."),
    h("div", { class: "bar" }, select("run", names, run, v => (run = v)), select("other precision", others, precision, v => (precision = v)), button), text, out);
  if (address.get("text")) await ask();
}

async function ask() {
  button.disabled = true;
  button.textContent = "reading …";
  try {
    answer = await post(`run/${encodeURIComponent(run)}/odds`, { text: text.value, precision });
    history.replaceState(null, "", `?${new URLSearchParams({ run, precision, text: text.value })}`);
    at = answer.tokens.length - 1;
    await redraw();
  } catch (error) { toast(error.message); out.replaceChildren(h("p", { class: "bad" }, error.message)); }
  button.disabled = false;
  button.textContent = "Read it";
}

const seen = t => t.replace(/\n/g, "⏎").replace(/ /g, "␣") || "∅";

async function redraw() {
  const most = Math.max(...answer.moved, 1e-6);
  const tokens = answer.tokens.map((t, i) => h("button", { "aria-pressed": i === at ? "true" : "false", title: `the two differ by ${some(100 * answer.moved[i], 3)} % of the odds here`, style: { "--heat": `rgba(213,94,0,${(answer.moved[i] / most).toFixed(3)})` }, onclick: () => { at = i; redraw(); } }, seen(t)));
  const mean = 100 * answer.moved.reduce((a, b) => a + b, 0) / answer.moved.length;
  const surprise = side => { const known = side.surprise.filter(v => v !== null); return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null; };
  const difference = surprise(answer.own) === null ? "" : ` Mean surprise of the text itself: ${surprise(answer.own).toFixed(4)} nats a token as trained, ${surprise(answer.other).toFixed(4)} under ${answer.other.label}.`;
  const following = at + 1 < answer.tokens.length ? `, where ${seen(answer.tokens[at + 1])} follows` : "";
  out.replaceChildren(
    answer.cut ? h("p", { class: "warn" }, `only the last ${answer.tokens.length} tokens fit; ${answer.cut} are left out`) : "", ...answer.remarks.map(r => h("p", { class: "warn" }, r)),
    h("p", { class: "soft" }, `Checkpoint of step ${answer.step}. On average ${some(mean, 3)} % of the odds move to other tokens.${difference} The deeper the line under a token, the more its odds moved; choose one:`), h("div", { class: "tokens" }, tokens),
    h("h2", {}, `After ${seen(answer.tokens[at])}${following}`), h("div", { class: "two" }, side(answer.own, "#0072B2"), side(answer.other, "#D55E00")),
    ...(answer.own.attention.length ? [h("h2", {}, "Where attention looks"), h("div", { class: "bar" }, select("layer", answer.own.attention.map((_, i) => String(i)), String(layer), v => { layer = +v; drawAttention(); }), select("head", answer.own.attention[0].map((_, i) => String(i)), String(head), v => { head = +v; drawAttention(); })), maps] : []));
  if (answer.own.attention.length) await drawAttention();
}

function side(facts, colour) {
  const best = facts.odds[at], most = Math.max(...answer.own.odds[at].map(o => o[1]), ...answer.other.odds[at].map(o => o[1]));
  return h("div", {}, h("h3", {}, facts.label), h("div", { class: "odds" }, best.map(([t, p]) => [h("code", {}, seen(t)), h("span", {}, h("i", { style: { width: `${(100 * p) / most}%`, "--colour": colour } })), h("span", { class: "number" }, `${(100 * p).toFixed(2)} %`)])),
    facts.surprise[at] === null ? "" : h("p", { class: "soft" }, `surprise of what follows: ${facts.surprise[at].toFixed(3)} nats`));
}

async function drawAttention() {
  const names = answer.tokens.map((t, i) => `${i} ${seen(t)}`);
  const rows = ["own", "other"].flatMap(which => answer[which].attention[layer]?.[head]?.flatMap((row, q) => row.slice(0, q + 1).map((w, k) => ({ which: answer[which].label, query: names[q], key: names[k], weight: w }))) ?? []);
  const narrow = maps.clientWidth < 700, wide = Math.max(140, (maps.clientWidth - (narrow ? 160 : 260)) / (narrow ? 1 : 2));
  const spec = { data: { values: rows }, facet: { field: "which", type: "nominal", sort: [answer.own.label, answer.other.label], title: null, header: { labelColor: "#888888" } }, columns: narrow ? 1 : 2,
    spec: { width: Math.min(wide, 460), height: Math.min(wide, 380), mark: { type: "rect", tooltip: true }, encoding: { x: { field: "key", type: "ordinal", sort: names, title: "looked at", axis: { labelOverlap: true } }, y: { field: "query", type: "ordinal", sort: names, title: "from", axis: { labelOverlap: true } }, color: { field: "weight", type: "quantitative", scale: { scheme: "viridis", domain: [0, 1] }, title: "share" } } } };
  await draw(maps, { ...spec, width: undefined });
}
