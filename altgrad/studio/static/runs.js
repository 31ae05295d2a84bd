// The table of runs: a window on as many as there are, each row of one height.

import { calmly, duration, empty, get, h, loss, onNews, select, show, TONE, whole } from "./core.js";
import { spark } from "./spark.js";

const COLUMNS = [
  ["", null], ["run", "name"], ["status", "status"], ["step", "step"], ["loss", "loss"], ["val loss", "val_loss"],
  ["", null], ["tokens/s", "speed"], ["left", "left"], ["differs from above", null],
];
const NUMBERS = ["loss", "val_loss", "speed", "left"];
const BEYOND = 20; // rows read before and after those on the screen

const wish = { words: "", sort: "newest", down: "1" };
const chosen = new Set(JSON.parse(sessionStorage.getItem("chosen") ?? "[]"));
let found = 0, rows = new Map(), focused = 0, asked = 0, head, body, curves, none;

const rowHeight = () => body.firstElementChild?.offsetHeight || 46;

export async function open() {
  const address = new URLSearchParams(location.search);
  for (const key of Object.keys(wish)) if (address.has(key)) wish[key] = address.get(key);
  const filter = h("input", { type: "search", class: "grow", id: "filter", value: wish.words, placeholder: "words: muon e4m3 optim.lr=0.02 -failed   ( / )", "aria-label": "Filter by words", oninput: e => { wish.words = e.target.value; anew(); } });
  // On a phone there are no headings to click on.
  const sorts = select("sorted by", ["newest", ...COLUMNS.map(([, key]) => key).filter(Boolean)], wish.sort, sortBy);
  sorts.classList.add("phone");
  curves = h("a", { class: "curves", href: "#", hidden: true });
  head = h("div", { class: "run head", role: "row" });
  body = h("div", { class: "runs", role: "rowgroup", "aria-label": "Runs" });
  none = h("div");
  show(h("h1", { class: "title" }, "Runs"), h("div", { class: "bar" }, filter, sorts, curves), h("div", { role: "table" }, head, body), none);
  drawHead();
  drawChosen();
  window.addEventListener("scroll", refill, { passive: true });
  window.addEventListener("resize", () => { draw(); refill(); });
  document.addEventListener("keydown", keys);
  onNews(news => news.total !== undefined && again());
  await fill(true);
}

function anew() {
  rows = new Map();
  const words = new URLSearchParams(Object.entries(wish).filter(([k, v]) => v !== { words: "", sort: "newest", down: "1" }[k]));
  history.replaceState(null, "", words.size ? `?${words}` : location.pathname);
  window.scrollTo(0, 0);
  focused = 0;
  again();
}

const again = calmly(() => fill(true), 500);
const refill = calmly(() => fill(false), 60);

function range() {
  const top = Math.max(0, -body.getBoundingClientRect().top), tall = rowHeight();
  const first = Math.max(0, Math.floor(top / tall) - BEYOND);
  return [first, Math.ceil(window.innerHeight / tall) + 2 * BEYOND];
}

async function fill(fresh) {
  const [first, count] = range();
  draw();
  if (!fresh && [...Array(Math.min(count, found - first)).keys()].every(i => rows.has(first + i))) return;
  const mine = ++asked;
  const answer = await get("runs", { ...wish, first, count: Math.min(count, 200) });
  if (mine !== asked) return;
  found = answer.found;
  if (fresh) rows = new Map();
  answer.rows.forEach((row, i) => rows.set(first + i, row));
  draw();
  none.replaceChildren(...(answer.total ? (found ? [] : [empty("No run has these words", "A word must be in a run's name, precision, optimiser, model or data, be its status, or name a setting: optim.lr=0.02. A minus before a word leaves runs out.")])
    : [empty("No runs here yet", "Start one in a terminal; it appears here while it trains.", "altgrad train", "altgrad compare optim=adamw,muon seeds=3")]));
}

function draw() {
  const [first, count] = range(), last = Math.min(found, first + count);
  const tall = `var(--row)`;
  const made = [];
  if (first) made.push(h("div", { style: { height: `calc(${first} * ${tall})` } }));
  for (let i = first; i < last; i++) made.push(rows.has(i) ? line(rows.get(i), i) : h("div", { class: "floor run ghost" }, "", "…"));
  if (last < found) made.push(h("div", { style: { height: `calc(${found - last} * ${tall})` } }));
  const active = document.activeElement?.closest?.(".run")?.dataset.name, onBox = document.activeElement?.type === "checkbox";
  body.replaceChildren(...made);
  if (active) body.querySelector(`[data-name="${CSS.escape(active)}"] ${onBox ? "input" : "a"}`)?.focus({ preventScroll: true });
}

const UPWARDS = ["name", "status", "left", "loss", "val_loss"]; // at first

function sortBy(key) {
  wish.down = wish.sort === key ? (wish.down === "1" ? "0" : "1") : UPWARDS.includes(key) ? "0" : "1";
  wish.sort = key;
  drawHead();
  anew();
}

function drawHead() {
  head.replaceChildren(...COLUMNS.map(([title, key]) => {
    if (!key) return h("span", { role: "columnheader" }, title);
    const now = wish.sort === key, arrow = now ? (wish.down === "1" ? " ↓" : " ↑") : "";
    return h("span", { role: "columnheader", class: NUMBERS.includes(key) ? "number" : null, "aria-sort": now ? (wish.down === "1" ? "descending" : "ascending") : null }, h("button", { onclick: () => sortBy(key), title: `sort by ${title}` }, title + arrow));
  }));
}

function line(row, i) {
  const tone = TONE[row.status] ?? "soft", share = row.max_steps ? Math.min(1, row.step / row.max_steps) : 0;
  const box = h("input", { type: "checkbox", checked: chosen.has(row.name), "aria-label": `choose ${row.name}`, onchange: e => choose(row.name, e.target.checked) });
  const differs = row.differs.map(([name, value]) => `${name.split(".").pop()}=${value ?? "–"}`).join("  ") + (row.more ? `  and ${row.more} more` : "");
  return h("div", { class: "run", role: "row", "data-name": row.name, "data-index": i, "aria-selected": chosen.has(row.name) ? "true" : null },
    h("span", { role: "cell" }, box),
    h("span", { role: "cell" }, h("a", { class: "name", href: `/run/${encodeURIComponent(row.name)}`, title: row.name }, row.name)),
    h("span", { role: "cell", class: tone, title: row.trouble }, row.status || "…", row.alerts ? h("span", { class: "warn", title: `${row.alerts} alerts` }, ` ⚠${row.alerts}`) : null),
    h("span", { role: "cell", class: tone }, row.max_steps ? `${whole(row.step)} / ${whole(row.max_steps)}` : "", h("span", { class: "progress" }, h("i", { style: { width: `${100 * share}%` } }))),
    h("span", { role: "cell", class: "number" }, loss(row.loss)),
    h("span", { role: "cell", class: "number", title: row.best_val_loss === null ? "" : "best so far" }, loss(row.best_val_loss)),
    h("span", { role: "cell" }, spark(row.spark)),
    h("span", { role: "cell", class: "number" }, whole(row.tokens_per_s)),
    h("span", { role: "cell", class: "number" }, duration(row.left_s)),
    h("span", { role: "cell", class: "more", title: row.trouble || row.differs.map(([n, v]) => `${n}=${v ?? "not there"}`).join("\n") }, row.trouble || differs));
}

function choose(name, on) {
  on ? chosen.add(name) : chosen.delete(name);
  sessionStorage.setItem("chosen", JSON.stringify([...chosen]));
  drawChosen();
  draw();
}

function drawChosen() {
  const names = [...chosen];
  curves.hidden = !names.length;
  curves.textContent = names.length ? `curves of ${names.length} run${names.length > 1 ? "s" : ""} (c)` : "";
  curves.href = `/curves?${new URLSearchParams(names.map(n => ["run", n]))}`;
}

function keys(event) {
  const typing = event.target.closest("input[type=search], textarea, select");
  if (typing && event.key === "Escape") { typing.blur(); return; }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const move = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
  if (event.key === "/") { event.preventDefault(); document.getElementById("filter").focus(); }
  else if (move && found) {
    event.preventDefault();
    const now = document.activeElement.closest?.(".run")?.dataset.index;
    focused = now === undefined ? focused : Math.max(0, Math.min(found - 1, +now + move));
    const place = body.querySelector(`[data-index="${focused}"]`);
    place?.querySelector("a").focus({ preventScroll: true });
    place?.scrollIntoView({ block: "nearest" });
  } else if (event.key === "x") {
    const name = document.activeElement.closest?.(".run")?.dataset.name;
    if (name) choose(name, !chosen.has(name));
  } else if (event.key === "c" && chosen.size) location.href = curves.href;
}
