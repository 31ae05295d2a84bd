// What every page uses: elements out of values (never HTML out of texts), requests, numbers, news.

export function h(name, props = {}, ...children) {
  const svg = ["svg", "path", "line", "title", "circle", "rect"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [k, v] of Object.entries(value)) made.style.setProperty(k, v);
    else if (key === "value" || key === "checked" || key === "disabled") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(3).filter(c => c !== null && c !== undefined && c !== false));
  return made;
}

export const main = document.getElementById("main");
export const show = (...children) => main.replaceChildren(...children.flat(3).filter(Boolean));

// -- requests -------------------------------------------------------------------------------------

export class Refused extends Error {}

async function read(answer) {
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(body?.error?.message ?? `the server says ${answer.status}`);
  return body;
}

export async function get(place, query = {}) {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) for (const v of [value].flat()) words.append(key, v);
  const tail = words.size ? `?${words}` : "";
  return read(await fetch(`/api/${place}${tail}`, { headers: { Accept: "application/json" } }));
}

// The token stands behind the # of the printed link: no server and no log gets to see it there.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname + location.search);
}
export const token = () => sessionStorage.getItem("token");

export async function post(place, body) {
  const headers = { "X-Altgrad-Token": token() ?? "", "Content-Type": "application/json" };
  return read(await fetch(`/api/${place}`, { method: "POST", headers, body: body ? JSON.stringify(body) : undefined }));
}

let timer;
export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (place.hidden = true), 7000);
}

// -- news -----------------------------------------------------------------------------------------

const listeners = new Set();
export function onNews(listen) {
  listeners.add(listen);
}

export function follow() {
  const pulse = document.getElementById("pulse");
  const source = new EventSource("/api/live");
  source.onmessage = message => {
    const news = JSON.parse(message.data);
    const reading = news.read < news.total ? `, ${whole(news.read)} read` : "";
    pulse.textContent = `${whole(news.total)} run${news.total === 1 ? "" : "s"}${reading}` + (news.running ? ` · ${news.running} training` : "");
    for (const listen of listeners) listen(news);
  };
  source.onerror = () => (pulse.textContent = "not connected");
}

// Runs `work` at most every `ms`, the last call never lost; never two at a time.
export function calmly(work, ms) {
  let waiting = false, busy = false, again = false, last = 0;
  async function go() {
    waiting = false;
    if (busy) { again = true; return; }
    busy = true;
    last = performance.now();
    try { await work(); } catch (error) { complain(error); } finally { busy = false; }
    if (again) { again = false; call(); }
  }
  function call() {
    if (waiting) return;
    waiting = true;
    setTimeout(go, Math.max(0, ms - (performance.now() - last)));
  }
  return call;
}

export function complain(error) {
  if (error instanceof Refused || error instanceof TypeError) toast(error.message);
  if (!(error instanceof Refused)) console.warn(String(error));
}

// -- numbers, with the digits that mean something ---------------------------------------------------

export const whole = value => (value === null || value === undefined ? "" : Math.round(value).toLocaleString("en"));
export const loss = value => (value === null || value === undefined ? "" : Math.abs(value) >= 1000 ? value.toExponential(2) : value.toFixed(4));
export function some(value, digits = 4) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return value.toLocaleString("en");
  return Math.abs(value) >= 1e6 || (value && Math.abs(value) < 1e-4) ? value.toExponential(digits - 1) : String(+value.toPrecision(digits));
}
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const total = Math.round(seconds);
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min ${String(total % 60).padStart(2, "0")} s`;
  return `${Math.floor(total / 3600)} h ${String(Math.floor((total % 3600) / 60)).padStart(2, "0")} min`;
}
export function size(bytes) {
  return bytes < 1 << 20 ? `${whole(bytes / 1024)} KiB` : `${some(bytes / (1 << 20), 3)} MiB`;
}

export const TONE = { finished: "good", running: "busy", interrupted: "warn", failed: "bad", diverged: "bad", damaged: "bad" };

export function table(columns, rows, tight = []) {
  const head = h("tr", {}, columns.map(c => h("th", { class: tight.includes(c) ? "number" : null }, c)));
  const body = rows.map(row => h("tr", {}, row.map((cell, i) => h("td", { class: tight.includes(columns[i]) ? "number" : null }, cell ?? ""))));
  return h("div", { class: "scroll" }, h("table", { class: "plain" }, h("thead", {}, head), h("tbody", {}, body)));
}

export const facts = pairs => h("dl", { class: "facts" }, pairs.filter(([, v]) => v !== null && v !== undefined && v !== "").map(([k, v]) => [h("dt", {}, k), h("dd", {}, v)]));

export function empty(title, text, ...commands) {
  return h("div", { class: "empty" }, h("b", {}, title), h("p", {}, text), commands.length ? h("pre", {}, commands.join("\n")) : null);
}

export function select(name, options, value, onchange) {
  const made = h("select", { onchange: e => onchange(e.target.value), "aria-label": name }, options.map(o => h("option", { value: o }, o)));
  made.value = value;
  return h("label", {}, name, made);
}
