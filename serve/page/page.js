// The page: what is asked, what came back, and in which order it is shown.

import * as api from "./api.js";
import { drawAbout } from "./about.js";
import { arrange, drawAttributes, drawCards } from "./cards.js";
import { $, el } from "./dom.js";
import { chosenFilters, drawFilters } from "./filters.js";
import { drawFlow } from "./flow.js";
import { makeHistory } from "./history.js";
import { showSimilar } from "./similar.js";
import { drawWeights, ordered } from "./weights.js";

const form = $("#ask");
const history = makeHistory(ask);
let release, answer, running = new AbortController();

function question() {
  const body = { k: Number($("#k").value), surface: $("#surface").value, filters: chosenFilters() };
  const by = form.elements.by.value;
  if (by === "history") return { ...body, history: history.ids() };
  const said = $(`#${by}`).value.trim();
  return said ? { ...body, [by === "user" ? "user_id" : "text"]: said } : body;
}

async function ask() {
  running.abort();
  const mine = (running = new AbortController());
  $("#answer").setAttribute("aria-busy", "true");
  try {
    const found = await api.recommend(question(), mine.signal);
    if (mine !== running) return;
    answer = found;
    show();
    drawAttributes(await api.items(found.items.map((item) => item.id)));
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
  } finally {
    if (mine === running) $("#answer").removeAttribute("aria-busy");
  }
}

function show() {
  const tasks = Object.keys(answer.items[0]?.scores ?? {});
  $("#problem").hidden = true;
  $("#status").textContent = said(answer);
  drawCards(answer.items, tasks, { onSimilar: (item) => showSimilar(item, addToHistory).catch(complain), onAdd: addToHistory });
  drawFlow(answer);
  resetWeights();
}

const WHO = { known: "a known user", history: "a history", text: "words", attributes: "who the user is", popular: "a stranger" };

function said({ items, user, surface }) {
  if (!items.length) return "Nothing passes these filters.";
  return `${items.length} items by ${WHO[user] ?? user}, on the surface ${surface}`;
}

function complain(error) {
  $("#problem").textContent = error.message;
  $("#problem").hidden = false;
}

function resetWeights() {
  const tasks = Object.keys(answer.items[0]?.scores ?? {});
  drawWeights(tasks, release.surfaces[answer.surface], reorder);
  arrange(answer.items);
  note(answer.items);
}

function reorder(weights) {
  const items = ordered(answer.items, weights);
  arrange(items);
  note(items);
  $("#reset").hidden = false;
}

function note(items) {
  const moved = items.filter((item, place) => item !== answer.items[place]).length;
  $("#order-note").textContent = moved ? `${moved} of ${items.length} stand elsewhere than in the server's order.` : "";
  $("#reset").hidden = true;
}

function addToHistory(item) {
  choose("history");
  history.add(item);
}

function choose(by) {
  form.elements.by.value = by;
  for (const section of form.querySelectorAll("[data-by]")) section.hidden = section.dataset.by !== by;
}

function wire() {
  form.addEventListener("submit", (event) => (event.preventDefault(), ask()));
  for (const radio of form.elements.by) radio.addEventListener("change", () => (choose(radio.value), ask()));
  for (const select of form.querySelectorAll("select")) select.addEventListener("change", ask);
  $("#reset").addEventListener("click", () => (resetWeights(), $("#weights input")?.focus()));
}

function pick(user) {
  $("#user").value = user;
  ask();
}

async function begin() {
  wire();
  const [about, attributes] = await Promise.all([api.release(), api.attributes()]);
  release = about;
  drawAbout(about);
  drawFilters(attributes, ask);
  $("#surface").replaceChildren(...Object.keys(about.surfaces).map((name) => el("option", {}, name)));
  const example = (user) => el("button", { type: "button", onclick: () => pick(user) }, user);
  $("#examples").replaceChildren(...about.example_users.slice(0, 8).map(example));
  $("#user").value = about.example_users[0] ?? "";
  await ask();
}

begin().catch(complain);
