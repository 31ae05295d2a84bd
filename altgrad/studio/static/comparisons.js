// Comparisons: those there are.

import { calmly, empty, get, h, onNews, show } from "./core.js";

let list;

export async function open() {
  list = h("div");
  show(h("h1", { class: "title" }, "Comparisons"), list);
  await redraw();
  let seen;
  const again = calmly(redraw, 1500);
  onNews(news => { if (seen !== news.others) again(); seen = news.others; });
}

async function redraw() {
  const found = await get("comparisons");
  if (!found.length) return list.replaceChildren(empty("No comparison here yet", "A comparison runs arms against a control under fair conditions and judges them. It fills here while it runs.", "altgrad compare optim=adamw,muon seeds=5", "altgrad compare precision=bf16,e5m2 seeds=3 max_steps=500"));
  list.replaceChildren(h("div", { class: "cards" }, found.map(c => h("a", { class: "card", href: `/comparison/${encodeURIComponent(c.name)}` },
    h("b", {}, c.trouble ? c.name : c.question), c.trouble ? h("span", { class: "bad" }, c.trouble) : h("span", {}, `${c.name} · ${c.arms} arms, ${c.runs} runs so far`),
    (c.verdicts ?? []).map(v => h("div", {}, v)), !c.trouble && !c.verdicts.length ? h("div", { class: "busy" }, "no verdict yet") : null))));
}
