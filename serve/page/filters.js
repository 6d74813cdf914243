// Filters by the values that this release has: categories to tick, numbers between two ends.

import { $, el } from "./dom.js";

/** Draw the filters of a release's attributes; `onChange` is called when one is another. */
export function drawFilters({ categories, numbers }, onChange) {
  const box = $("#filters");
  box.append(...Object.entries(categories).map(([name, values]) => category(name, values)));
  box.append(...Object.entries(numbers).map(([name, range]) => number(name, range)));
  box.addEventListener("change", onChange);
  box.hidden = box.childElementCount === 1;
}

function category(name, values) {
  const choice = ([value, count]) =>
    el("label", { title: `${count} items` }, el("input", { type: "checkbox", value }), el("span", {}, value));
  const chips = el("div", { class: "chips" }, ...Object.entries(values).map(choice));
  return el("details", { "data-category": name }, el("summary", {}, name), chips);
}

function number(name, { low, high }) {
  const end = (label, hint) =>
    el("input", { type: "number", step: "any", placeholder: hint, "aria-label": `${name}, ${label}` });
  const row = el("div", { class: "row" }, end("at least", low), "to", end("at most", high));
  return el("details", { "data-number": name, "data-low": low, "data-high": high }, el("summary", {}, name), row);
}

/** Return the filters in a request's form, and write how many are chosen beside each name. */
export function chosenFilters() {
  const filters = {};
  for (const one of document.querySelectorAll("[data-category]")) {
    const values = [...one.querySelectorAll(":checked")].map((input) => input.value);
    $("summary", one).dataset.chosen = values.length || "";
    if (values.length) filters[one.dataset.category] = values;
  }
  for (const one of document.querySelectorAll("[data-number]")) {
    const [low, high] = [...one.querySelectorAll("input")].map((input) => input.valueAsNumber);
    const none = Number.isNaN(low) && Number.isNaN(high);
    $("summary", one).dataset.chosen = none ? "" : 1;
    const ends = [Number.isNaN(low) ? Number(one.dataset.low) : low, Number.isNaN(high) ? Number(one.dataset.high) : high];
    if (!none) filters[one.dataset.number] = ends;
  }
  return filters;
}
