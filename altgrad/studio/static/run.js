// One run: curves with its alerts, samples, numerics, costs, environment, commands, checkpoints.

import { curves, draw, heat, place } from "./charts.js";
import { calmly, duration, empty, facts, get, h, loss, onNews, post, select, show, size, some, table, toast, token, TONE, touches, whole } from "./core.js";
import { histograms } from "./histograms.js";

let name, plots, parts, metric = "grad_norm";

export async function open(run) {
  name = run;
  parts = Object.fromEntries(["head", "deeds", "curves", "alerts", "samples", "numerics", "histograms", "costs", "environment", "commands", "checkpoints", "settings"].map(p => [p, h("section")]));
  plots = { loss: place(), other: place() };
  parts.curves.append(h("div", { class: "two" }, plots.loss, h("div", {}, h("div", { class: "bar", id: "choice" }), plots.other)));
  parts.head.append(h("h1", { class: "title" }, name), h("p", { class: "soft" }, "reading it …"));
  show(...Object.values(parts));
  await redraw();
  drawHistogramButton();
  const again = calmly(redraw, 1500);
  onNews(news => touches(news, [name]) && again());
}

async function redraw() {
  const answer = await get(`run/${encodeURIComponent(name)}`);
  drawHead(answer);
  drawDeeds(answer.row);
  drawAlerts(answer.events);
  drawSamples(answer.samples);
  drawFacts(answer);
  drawCheckpoints(answer.checkpoints);
  await drawCurves(answer);
  await drawNumerics();
}

function drawHead({ row, summary }) {
  const tone = TONE[row.status] ?? "";
  const share = row.max_steps ? Math.min(1, row.step / row.max_steps) : 0;
  const said = [`step ${whole(row.step)} of ${whole(row.max_steps)}`, row.loss !== null && `loss ${loss(row.loss)}`, row.best_val_loss !== null && `best validation loss ${loss(row.best_val_loss)}`, row.tokens_per_s && `${whole(row.tokens_per_s)} tokens/s`, row.status === "running" && row.left_s !== null && `about ${duration(row.left_s)} left`];
  parts.head.replaceChildren(h("h1", { class: "title" }, name),
    h("p", { class: "soft" }, h("b", { class: tone }, row.status), " · ", said.filter(Boolean).join(" · ")),
    h("span", { class: `progress ${tone}` }, h("i", { style: { width: `${100 * share}%` } })),
    h("p", { class: "soft" }, `${summary.layers} layers of width ${summary.width} · ${summary.precision} · ${summary.optimiser} · ${summary.data} · seed ${summary.seed}`));
}

function drawDeeds(row) {
  const can = { running: ["stop", "Stop: save and end, as Ctrl-C"], interrupted: ["resume", "Go on"], failed: ["resume", "Try again"] }[row.status];
  if (!can) return parts.deeds.replaceChildren();
  if (!token()) return parts.deeds.replaceChildren(h("p", { class: "soft" }, `To ${can[0]} it from here, open the link with the token that altgrad studio printed.`));
  const button = h("button", { class: "main", id: can[0], onclick: async () => {
    button.disabled = true;
    try { toast((await post(`run/${encodeURIComponent(name)}/${can[0]}`)).said); } catch (error) { toast(error.message); button.disabled = false; }
  } }, can[1]);
  if (parts.deeds.querySelector("button")?.id !== can[0]) parts.deeds.replaceChildren(h("div", { class: "bar" }, button));
}

async function drawCurves(answer) {
  const marks = answer.events.filter(e => e.event === "alert" || e.event === "anomaly").map(e => ({ x: e.step, what: String(e.reason ?? e.event) }));
  const ask = (n, smooth = "none") => get("curves", { run: name, name: n, smooth });
  const [train, smooth, val] = await Promise.all([ask("loss"), ask("loss", "some"), ask("val_loss")]);
  const lines = [["training loss, every step", train], ["training loss, smoothed", smooth], ["validation loss", val]].filter(([, a]) => a.runs[0].points.length).map(([title, a]) => ({ name: title, points: a.runs[0].points, faint: a === train }));
  if (!lines.length) return plots.loss.replaceChildren(empty("No steps yet", answer.row.status === "running" ? "The first step is still being taken." : "This run has logged nothing."));
  await draw(plots.loss, await curves(lines, { x: "step", title: "loss (nats per token)", marks, height: 280 }));
  const choice = document.getElementById("choice");
  const others = train.names.filter(n => !["loss", "val_loss"].includes(n));
  if (!others.length) return;
  if (!others.includes(metric)) metric = others[0];
  if (!choice.contains(document.activeElement)) choice.replaceChildren(select("metric", others, metric, value => { metric = value; drawOther(marks).catch(e => toast(e.message)); }),
    h("a", { href: `/curves?run=${encodeURIComponent(name)}` }, "more curves"));
  await drawOther(marks);
}

async function drawOther(marks) {
  const answer = await get("curves", { run: name, name: metric });
  if (answer.runs[0].points.length) await draw(plots.other, await curves(answer.runs, { x: "step", title: metric, marks, height: 240 }));
}

function drawAlerts(events) {
  const told = events.filter(e => ["alert", "anomaly", "trouble", "note", "resumed", "failed", "diverged", "interrupted"].includes(e.event));
  if (!told.length) return parts.alerts.replaceChildren();
  const rows = told.slice(-60).map(e => [h("span", { class: e.event === "alert" ? "warn" : ["failed", "diverged", "trouble"].includes(e.event) ? "bad" : "soft" }, e.event), e.step === undefined ? "" : whole(e.step), String(e.reason ?? e.text ?? e.error ?? e.path ?? (e.changed ? JSON.stringify(e.changed) : ""))]);
  parts.alerts.replaceChildren(h("h2", {}, "What happened"), table(["event", "step", "what"], rows, ["step"]));
}

function drawSamples(samples) {
  const key = samples.map(s => s.step).join();
  if (parts.samples.dataset.key === key) return;
  parts.samples.dataset.key = key;
  parts.samples.replaceChildren(...(samples.length ? [h("h2", {}, "Samples, newest first"), h("div", { class: "samples", tabindex: 0, role: "region", "aria-label": "Samples" }, samples.map(s => h("figure", { class: "sample" }, h("figcaption", {}, `step ${whole(s.step)}`), h("pre", {}, s.text))))] : []));
}

async function drawNumerics() {
  const maps = await get(`run/${encodeURIComponent(name)}/heat`);
  const key = JSON.stringify(maps).length;
  if (parts.numerics.dataset.key === String(key)) return;
  parts.numerics.dataset.key = key;
  if (!maps.length) return parts.numerics.replaceChildren(h("h2", {}, "Numerics"), h("p", { class: "soft" }, "Nothing was logged layer by layer. A rounded run does with ", h("code", {}, "diagnostics.every_steps=10"), "."));
  const drawn = maps.filter(m => m.values.length), places = drawn.map(() => place(true));
  const said = maps.filter(m => m.only).map(m => `${m.title}: ${m.only} in all layers and steps`);
  parts.numerics.replaceChildren(h("h2", {}, "Numerics, layer by step"), h("div", { class: "three" }, places), said.length ? h("p", { class: "soft" }, said.join("; ")) : "");
  for (const [i, map] of drawn.entries()) await draw(places[i], heat(map));
}

function drawHistogramButton() {
  if (!token()) return;
  const target = h("div");
  const button = h("button", { id: "measure", onclick: async () => {
    button.disabled = true;
    button.textContent = "one batch goes through the newest checkpoint …";
    try { await histograms(target, await post(`run/${encodeURIComponent(name)}/histograms`)); button.remove(); } catch (error) { target.replaceChildren(h("p", { class: "soft" }, error.message)); button.disabled = false; button.textContent = "Try again"; }
  } }, "Measure where weights, inputs and gradients lie in their formats");
  parts.histograms.replaceChildren(h("h2", {}, "Within the format's range"), h("div", { class: "bar" }, button), target);
}

function drawFacts({ summary, environment, commands, settings }) {
  const costs = facts([["training", duration(summary.train_s)], ["all of it", duration(summary.wall_s)], ["tokens/s, median", whole(summary.tokens_per_s)], ["peak memory", summary.peak_memory_bytes ? size(summary.peak_memory_bytes) : ""], ["energy", summary.energy_j ? `${whole(summary.energy_j)} J` : ""], ["alerts", whole(summary.alerts)], ["trouble", whole(summary.trouble)]]);
  parts.costs.replaceChildren(h("div", { class: "two" }, h("div", {}, h("h2", {}, "Costs"), costs), h("div", {}, h("h2", {}, "Environment"), facts(Object.entries(environment).map(([k, v]) => [k, typeof v === "object" ? JSON.stringify(v) : String(v ?? "")])))));
  parts.commands.replaceChildren(h("h2", {}, "To type"), ...Object.entries(commands).map(([what, command]) => h("div", {}, h("span", { class: "soft" }, what), h("pre", {}, command))));
  const open = parts.settings.querySelector("details")?.open;
  parts.settings.replaceChildren(h("details", { open }, h("summary", {}, `All ${Object.keys(settings).length} settings`), table(["setting", "value"], Object.entries(settings).map(([k, v]) => [h("code", {}, k), v]))));
}

function drawCheckpoints({ elsewhere, saved }) {
  if (parts.checkpoints.dataset.checked) return;
  if (elsewhere) return parts.checkpoints.replaceChildren(h("h2", {}, "Checkpoints"), h("p", { class: "soft" }, `They lie elsewhere: ${elsewhere}`));
  const rows = saved.map(c => [c.name, size(c.bytes), loss(c.val_loss), h("span", { class: c.state === "there" ? "" : "bad" }, c.state)]);
  const check = h("button", { onclick: async () => {
    check.disabled = true;
    try {
      const found = Object.fromEntries((await post(`run/${encodeURIComponent(name)}/checkpoints`)).map(c => [c.name, c]));
      parts.checkpoints.dataset.checked = "1";
      for (const tr of parts.checkpoints.querySelectorAll("tbody tr")) { const c = found[tr.firstChild.textContent]; tr.lastChild.textContent = c?.whole ? "whole: every byte is what was written" : c?.why ?? "gone"; }
    } catch (error) { toast(error.message); }
    check.disabled = false;
  } }, "Check every byte");
  parts.checkpoints.replaceChildren(h("h2", {}, "Checkpoints"), saved.length ? table(["checkpoint", "size", "val loss", "state"], rows, ["size", "val loss"]) : h("p", { class: "soft" }, "None yet."), saved.length && token() ? h("div", { class: "bar" }, check) : "");
}
