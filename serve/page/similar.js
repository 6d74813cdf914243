// Items near one, in a dialog; Escape closes it and the focus goes back to where it was.

import { similar } from "./api.js";
import { $, el, short } from "./dom.js";

/** Show what is near an item; `onAdd` gets the one that is chosen. */
export async function showSimilar(item, onAdd) {
  const dialog = $("#similar");
  const { items } = await similar(item.id);
  $("h2", dialog).textContent = `Similar to ${item.title}`;
  const choose = (other) => () => (onAdd(other), dialog.close());
  const row = (other) =>
    el("li", {},
      el("span", {}, other.title),
      el("span", { class: "cosine", title: "cosine" }, short(other.cosine)),
      el("button", { type: "button", "aria-label": `Add ${other.title} to the history`, onclick: choose(other) }, "+ History"));
  $("ol", dialog).replaceChildren(...items.map(row));
  if (!dialog.open) dialog.showModal();
}
