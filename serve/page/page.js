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
const history = makeHistory(() => ask());
let release, answer, asked, own, running = new AbortController(); // `own` are weights that were moved by hand

function question() {
  const body = { k: Number($("#k").value), surface: $("#surface").value, filters: chosenFilters() };
  const by = form.elements.by.value;
  if (by === "history") return { ...body, history: history.ids() };
  const said = $(`#${by}`).value.trim();
  return said ? { ...body, [by === "user" ? "user_id" : "text"]: said } : body;
}

/** Ask anew; with weights of one's own only if they are given. */
async function ask(weights) {
  running.abort();
  const mine = (running = new AbortController());
  $("#answer").setAttribute("aria-busy", "true");
  try {
    const found = await api.recommend(weights ? { ...question(), weights } : question(), mine.signal);
    if (mine !== running) return;
    [answer, asked] = [found, weights ?? release.surfaces[found.surface]];
    own = weights;
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
  drawWeights(tasks, asked, reorder);
  note(answer.items);
}

const WHO = { known: "a known user", history: "a history", text: "words", attributes: "who the user is", popular: "a stranger" };

function said({ items, user, surface, level, underfilled }) {
  if (!items.length) return "Nothing passes these filters.";
  const short = underfilled ? `; ${underfilled.because}` : "";
  const low = level && level !== "full" ? `; not every step answered in time (${level})` : "";
  return `${items.length} items for ${WHO[user] ?? user} on the surface ${surface}${short}${low}`;
}

function complain(error) {
  $("#problem").textContent = error.message;
  $("#problem").hidden = false;
  if (error.refused) $("#key-form").hidden = false;
}

function reorder(weights) {
  own = weights;
  const items = ordered(answer.items, weights);
  arrange(items);
  note(items);
}

function note(items) {
  const moved = items.filter((item, place) => item !== answer.items[place]).length;
  $("#order-note").textContent = moved ? `${moved} of ${items.length} stand elsewhere than in the server's order.` : "";
  $("#own").hidden = !own;
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
  $("#key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    api.useKey($("#key").value.trim());
    location.reload();
  });
  for (const radio of form.elements.by) radio.addEventListener("change", () => (choose(radio.value), ask()));
  for (const select of form.querySelectorAll("select")) select.addEventListener("change", () => ask());
  $("#again").addEventListener("click", () => ask(own));
  $("#reset").addEventListener("click", () => ($("#weights input")?.focus(), ask()));
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
  drawFilters(attributes, () => ask());
  $("#surface").replaceChildren(...Object.keys(about.surfaces).map((name) => el("option", {}, name)));
  const example = (user) => el("button", { type: "button", onclick: () => pick(user) }, user);
  $("#examples").replaceChildren(...about.example_users.slice(0, 8).map(example));
  $("#user").value = about.example_users[0] ?? "";
  await ask();
}

begin().catch(complain);
