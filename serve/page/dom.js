// Elements out of tags, properties and children. Text becomes text nodes: nothing here can make markup of a title.

export const $ = (selector, from = document) => from.querySelector(selector);

/** Return an element; `on...` properties are listeners, `true` is an empty attribute, false and null are left out. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** Return a number for people: three digits that count. */
export const short = (number) => Number(number.toPrecision(3)).toString();

/** Return a function that runs another one when it has not been called for some milliseconds. */
export function later(run, milliseconds) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(run, milliseconds, ...args);
  };
}
