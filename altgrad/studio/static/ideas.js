// Ledgers of ideas: those there are.

import { calmly, empty, get, h, onNews, show } from "./core.js";

let list;

export async function open() {
  list = h("div");
  show(h("h1", { class: "title" }, "Ideas"), list);
  await redraw();
  let seen;
  const again = calmly(redraw, 1500);
  onNews(news => { if (seen !== news.others) again(); seen = news.others; });
}

async function redraw() {
  const found = await get("ideas");
  if (!found.length) return list.replaceChildren(empty("No ledger here yet", "A ledger tries many ideas, one after another, and says which of them really help.", "altgrad ideas new fast max_steps=500 hours=8", "altgrad ideas try fast optim.lr=0.06 --why 'the default is low'"));
  list.replaceChildren(h("div", { class: "cards" }, found.map(c => h("a", { class: "card", href: `/idea/${encodeURIComponent(c.name)}` }, h("b", {}, c.name), h("span", { class: c.trouble ? "bad" : "" }, c.trouble || `${c.tries} ideas tried, ${c.reckonings} reckoning${c.reckonings === 1 ? "" : "s"}`)))));
}
