// Sliders for the weights of task scores. A list is worth the weighted sums, so it can be put in order right here.

import { $, el, short } from "./dom.js";

const [LOWEST, HIGHEST, STEPS] = [-4, 1, 100]; // 0, then 0.0001 to 10 in steps of one ratio: scores differ by as much

const toWeight = (place) => (place === 0 ? 0 : 10 ** (LOWEST + ((HIGHEST - LOWEST) * place) / STEPS));

function toPlace(weight) {
  if (weight === 0) return 0;
  const place = ((Math.log10(Math.abs(weight)) - LOWEST) / (HIGHEST - LOWEST)) * STEPS;
  return Math.round(Math.min(STEPS, Math.max(1, place)));
}

/** Return the items by weighted sum, those of equal worth in the order they came in. */
export function ordered(items, weights) {
  const value = (item) => Object.entries(weights).reduce((sum, [name, w]) => sum + w * (item.scores[name] ?? 0), 0);
  return items.map((item) => [value(item), item]).sort((a, b) => b[0] - a[0]).map(([, item]) => item);
}

/** Draw one slider a task; `onChange` gets all weights when one is moved. */
export function drawWeights(tasks, weights, onChange) {
  const now = Object.fromEntries(tasks.map((name) => [name, weights[name] ?? 0]));
  const sliders = tasks.map((name, place) => {
    const output = el("output", { for: `weight-${place}` }, short(now[name]));
    const sign = Math.sign(now[name]) || 1;
    const slider = el("input", { type: "range", id: `weight-${place}`, min: 0, max: STEPS, value: toPlace(now[name]) });
    slider.setAttribute("aria-valuetext", short(now[name]));
    slider.addEventListener("input", () => {
      now[name] = sign * toWeight(slider.valueAsNumber);
      output.textContent = short(now[name]);
      slider.setAttribute("aria-valuetext", output.textContent);
      onChange({ ...now });
    });
    return el("div", { class: `weight task-${place % 6}` }, el("label", { for: slider.id }, name), output, slider);
  });
  const focused = document.activeElement?.id;
  $("#weights").replaceChildren(...sliders);
  if (focused?.startsWith("weight-")) document.getElementById(focused)?.focus();
}
