// The page's hands: what changes is changed, and what stays keeps its place, its focus and its animation.

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; text goes in as text, never as markup. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Text that is only touched where it differs: a screen reader hears of changes, not of repetitions. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function mark(node, name, value) {
  const text = value === null || value === undefined || value === false ? null : String(value === true ? "" : value);
  if (node.getAttribute(name) === text) return;
  if (text === null) node.removeAttribute(name);
  else node.setAttribute(name, text);
}

export function show(node, visible) {
  mark(node, "hidden", visible ? null : "");
}

/** One child per key, of the first item that has it: kept where it was, made where it is new, gone where that has gone. */
export function fill(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const seen = new Set();
  let after = null;
  for (const item of items) {
    const key = String(keyOf(item));
    if (seen.has(key)) continue;
    seen.add(key);
    let child = known.get(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    update?.(child, item);
    const place = after ? after.nextSibling : parent.firstChild;
    if (place !== child) parent.insertBefore(child, place);
    after = child;
  }
  while (after ? after.nextSibling : parent.firstChild) parent.lastChild.remove();
}

/** Longer values have a line of their own. */
const WIDE = 30;

/** Name and value pairs in a `dl`; a pair without a value is left out. */
export function facts(list, pairs) {
  fill(
    list,
    pairs.filter(([, value]) => value),
    ([name]) => name,
    ([name]) => el("div", {}, el("dt", {}, name), el("dd")),
    (row, [, value, tone]) => {
      say(row.lastChild, value);
      mark(row, "data-wide", String(value).length > WIDE);
      mark(row, "data-tone", tone);
    },
  );
}
