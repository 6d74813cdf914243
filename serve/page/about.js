// The corner: which release, what it reached offline, whether it is well.

import { health } from "./api.js";
import { $, el } from "./dom.js";

const EVERY = 30_000;

/** Write the corner and keep the health in it fresh. */
export function drawAbout(release) {
  $("#recipe").textContent = `${release.recipe}: ${release.items.toLocaleString()} items, ${release.users.toLocaleString()} users`;
  const state = el("dd", { id: "health" }, "…");
  $("#about").replaceChildren(
    el("div", {}, el("dt", {}, "Release"), el("dd", { class: "id", title: release.created }, release.release)),
    el("div", {}, el("dt", {}, "NDCG offline"), el("dd", { title: release.protocol }, ndcg(release.ndcg))),
    el("div", {}, el("dt", {}, "Health"), state));
  const check = () => document.hidden || look(state);
  check();
  setInterval(check, EVERY);
}

function ndcg({ motet, ...others }) {
  const [name, best] = Object.entries(others).sort((a, b) => b[1] - a[1])[0] ?? [];
  const said = motet === undefined ? "–" : motet.toFixed(3);
  return name ? `${said} (best source ${best.toFixed(3)}, ${name})` : said;
}

async function look(state) {
  try {
    state.textContent = (await health()).status;
    state.className = "well";
  } catch (error) {
    state.textContent = error.message;
    state.className = "ill";
  }
}
