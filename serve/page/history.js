// A history clicked together: search titles, add them, take them out again.

import { search } from "./api.js";
import { $, el, later } from "./dom.js";

const MOST = 200;

/** Wire the search; return {ids, add}. `onChange` is called when the history is another. */
export function makeHistory(onChange) {
  const chosen = new Map();
  const [box, found, note] = [$("#search"), $("#found"), $("#found-note")];
  let running = new AbortController();

  function draw() {
    const chip = ([id, title]) =>
      el("li", {}, el("button", { type: "button", "aria-label": `Remove ${title}`, onclick: () => remove(id) }, title));
    $("#history").replaceChildren(...[...chosen].map(chip));
  }

  function add(item) {
    if (chosen.size === MOST) return void (note.textContent = `A history holds at most ${MOST} titles.`);
    chosen.delete(item.id);
    chosen.set(item.id, item.title);
    draw();
    onChange();
  }

  function remove(id) {
    chosen.delete(id);
    draw();
    ($("#history button:last-child") ?? box).focus();
    onChange();
  }

  async function look() {
    running.abort();
    running = new AbortController();
    const text = box.value.trim();
    if (!text) return void (found.replaceChildren(), (note.textContent = ""));
    try {
      const { items } = await search(text, running.signal);
      const row = (item) => el("li", {}, el("button", { type: "button", onclick: () => add(item) }, item.title));
      found.replaceChildren(...items.map(row));
      note.textContent = items.length ? `${items.length} titles; arrow down to choose` : "No such title";
    } catch (error) {
      if (error.name !== "AbortError") note.textContent = error.message;
    }
  }

  function onKey(event) {
    const rows = [box, ...found.querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" && event.target === box) event.preventDefault();
    if (!step) return;
    event.preventDefault();
    rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(event.target) + step))].focus();
  }

  box.addEventListener("input", later(look, 150));
  box.addEventListener("keydown", onKey);
  found.addEventListener("keydown", onKey);
  return { add, ids: () => [...chosen.keys()] };
}
