// How the list came about: boxes from the user to the list, each with the number of items that are left.

import { $, el } from "./dom.js";

const SAID = { filters: "may be shown", sources: "listed by a source", fusion: "ranked", ranking: "in the list" };
const FINAL = { ranking: "rerank" };

/** Draw the stages of an answer's trace; hide the diagram if there is none. */
export function drawFlow({ trace, user }) {
  const stages = trace?.stages ?? [];
  const first = el("li", {}, el("h3", {}, "embed"), el("p", { class: "who" }, user), el("p", {}, "who asks"));
  $("#flow ol").replaceChildren(first, ...stages.map(box));
  $("#flow").hidden = !stages.length;
}

const box = ({ stage, kept, removed, listed }) =>
  el("li", {},
    el("h3", {}, FINAL[stage] ?? stage),
    el("p", { class: "kept" }, kept.toLocaleString()),
    el("p", {}, SAID[stage] ?? "kept"),
    counts(listed, "listed", ""),
    counts(removed, "removed", "−"));

/** Return a list of names with counts, the largest first; those of nothing are left out. */
function counts(named, kind, sign) {
  const rows = Object.entries(named ?? {}).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]);
  const row = ([name, count]) => el("div", {}, el("dt", {}, name), el("dd", {}, sign + count.toLocaleString()));
  return el("dl", { class: kind, hidden: !rows.length }, ...rows.map(row));
}
