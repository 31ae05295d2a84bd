// A run's loss in a line: [[step, loss], …] scaled to its own range; the steep beginning is cut off.

import { h } from "./core.js";

export function spark(points) {
  const svg = h("svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (points.length < 2) return svg;
  const sorted = points.map(p => p[1]).sort((a, b) => a - b);
  const low = sorted[0], high = Math.max(sorted[Math.floor(0.94 * (sorted.length - 1))], low + 1e-9);
  const first = points[0][0], span = points[points.length - 1][0] - first || 1;
  const at = ([step, value]) => `${(100 * (step - first) / span).toFixed(1)},${(28 - 26 * (Math.min(value, high) - low) / (high - low)).toFixed(1)}`;
  svg.append(h("path", { d: "M" + points.map(at).join("L") }));
  return svg;
}
