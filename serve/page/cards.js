// Cards of the answer: title, attributes, a bar a task, reason, sources.

import { $, el, short } from "./dom.js";

const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/** Draw one card an item; bars are relative to the highest score of their task in this answer. */
export function drawCards(items, tasks, { onSimilar, onAdd }) {
  const highest = Object.fromEntries(tasks.map((name) => [name, Math.max(...items.map((item) => item.scores[name] ?? 0))]));
  const card = (item) =>
    el("li", { class: "card", "data-id": item.id },
      el("h3", {}, item.title),
      el("p", { class: "attributes" }),
      el("dl", { class: "scores" }, ...tasks.map((name, place) => bar(name, item.scores[name] ?? 0, highest[name], place))),
      el("p", { class: "reason" }, item.reason.text),
      el("p", { class: "sources", "aria-label": "Found by" }, ...item.sources.map((one) => el("span", {}, one))),
      el("p", { class: "actions" },
        action("Similar", `Items similar to ${item.title}`, () => onSimilar(item)),
        action("+ History", `Add ${item.title} to the history`, () => onAdd(item))));
  $("#cards").replaceChildren(...items.map(card));
}

const action = (text, label, onclick) => el("button", { type: "button", "aria-label": label, onclick }, text);

function bar(name, score, highest, place) {
  const fill = el("span");
  fill.style.setProperty("--part", Math.max(0, highest > 0 ? score / highest : 0));
  const track = el("span", { class: "bar", "aria-hidden": "true" }, fill);
  return el("div", { class: `task-${place % 6}` }, el("dt", {}, name), el("dd", {}, short(score)), track);
}

/** Write what is known of each item below its title. */
export function drawAttributes(known) {
  for (const card of $("#cards").children) {
    const values = Object.values(known.get(card.dataset.id)?.attributes ?? {});
    $(".attributes", card).textContent = values.map((one) => [one].flat().join(", ")).reverse().join(" · ");
  }
}

/** Put the cards in the order of these items; each glides from where it was. */
export function arrange(items) {
  const list = $("#cards");
  const cards = new Map([...list.children].map((card) => [card.dataset.id, card]));
  const order = items.map((item) => cards.get(item.id));
  if (order.every((card, place) => card === list.children[place])) return;
  const before = order.map((card) => card.getBoundingClientRect());
  const focused = document.activeElement;
  list.replaceChildren(...order);
  if (list.contains(focused)) focused.focus();
  if (STILL.matches) return;
  order.forEach((card, place) => {
    const now = card.getBoundingClientRect();
    const [x, y] = [before[place].x - now.x, before[place].y - now.y];
    if (x || y) card.animate([{ transform: `translate(${x}px, ${y}px)` }, {}], { duration: 250, easing: "ease-out" });
  });
}
