// How the list came about, as boxes from left to right with what each left over.

import { $, el } from "./dom.js";

/** Draw the stages of an answer's trace; hide the diagram if there is none. */
export function drawFlow(answer) {
  const stages = answer.trace ? [] : [];
  $("#flow ol").replaceChildren(...stages.map(() => el("li", {})));
  $("#flow").hidden = !stages.length;
}
