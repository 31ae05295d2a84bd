// Which page this is; the keys that all pages have.

import { complain, empty, follow, h, main, Refused, show } from "./core.js";

const PAGES = [
  [/^\/$/, "runs.js", "/"],
  [/^\/run\/([^/]+)$/, "run.js", "/"],
  [/^\/curves$/, "several.js", "/"],
  [/^\/comparisons$/, "comparisons.js", "/comparisons"],
  [/^\/comparison\/([^/]+)$/, "comparison.js", "/comparisons"],
  [/^\/ideas$/, "ideas.js", "/ideas"],
  [/^\/idea\/([^/]+)$/, "idea.js", "/ideas"],
  [/^\/formats$/, "formats.js", "/formats"],
  [/^\/text$/, "text.js", "/text"],
];

document.addEventListener("keydown", event => {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const jump = { 1: "/", 2: "/comparisons", 3: "/ideas", 4: "/formats", 5: "/text" }[event.key];
  if (jump) location.href = jump;
});

async function open() {
  for (const [pattern, file, tab] of PAGES) {
    const found = location.pathname.match(pattern);
    if (!found) continue;
    document.querySelector(`nav a[href="${tab}"]`).setAttribute("aria-current", "page");
    const page = await import(`./${file}`);
    const name = found[1] === undefined ? undefined : decodeURIComponent(found[1]);
    document.title = [name, "altgrad"].filter(Boolean).join(" · ");
    await page.open(name);
    follow();
    return;
  }
}

open().catch(error => {
  if (error instanceof Refused) show(empty("This cannot be shown", error.message), h("p", {}, h("a", { href: "/" }, "all runs")));
  else { complain(error); main.append(empty("Something broke", String(error))); }
});
