// Making elements. Every text goes in as text: nothing here, or anywhere, sets HTML.

/** @type {string} */
let sprite = '/static/icons.svg';

/** @param {string} base where static files are, with a slash at the end */
export function setStatic(base) {
  sprite = `${base}icons.svg`;
}

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * An element: `class`, `data`, `on` (events) and properties by name, attributes where the element
 * has no such property.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [props]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === 'class') element.className = value;
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, /** @type {any} */ (listener));
    } else if (name.includes('-') || name === 'role' || name === 'for' || name === 'list' || name === 'form' || !(name in element)) {
      if (value !== false || name.startsWith('aria-')) element.setAttribute(name, String(value));
    } else {
      /** @type {any} */ (element)[name] = value;
    }
  }
  fill(element, children);
  return element;
}

/** @param {Element | DocumentFragment} element @param {(Child | Child[])[]} children */
function fill(element, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Put these in place of what is inside. @param {Element} element @param {...(Child | Child[])} children */
export function put(element, ...children) {
  const made = document.createDocumentFragment();
  fill(made, children);
  element.replaceChildren(made);
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/** The drawing of each icon, once the sprite is read. @type {Map<string, string>} */
const paths = new Map();

/** Read the sprite: hundreds of icons on a canvas are cheaper as paths than as uses of it. */
export async function readIcons() {
  const text = await fetch(sprite).then((answer) => (answer.ok ? answer.text() : ''), () => '');
  for (const symbol of new DOMParser().parseFromString(text, 'image/svg+xml').querySelectorAll('symbol')) {
    paths.set(symbol.id, symbol.querySelector('path')?.getAttribute('d') ?? '');
  }
}

/** An icon of the sprite. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const d = paths.get(name);
  if (d) {
    svg.setAttribute('viewBox', '0 0 24 24');
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
    return svg;
  }
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `${sprite}#${name}`);
  svg.append(use);
  return svg;
}

// Families that have a picture of their own; all others show their category's.
const DRAWN = new Set(
  ('mqtt coap timer sensor threshold filter route window scale convert select template json csv text file influxdb ' +
    'series actuator debounce throttle delay queue comment catch status http modbus gpio python enrich split join').split(' '),
);

/** @param {NodeType | undefined} type @returns {string} */
export function iconOf(type) {
  if (!type) return 'help';
  return DRAWN.has(type.family) ? type.family : `cat-${type.category ?? 'flow'}`;
}

/** The tinted tile of a type. @param {NodeType | undefined} type */
export function tile(type) {
  return h('span', { class: `tile cat-${type?.category ?? 'debug'}` }, icon(iconOf(type)));
}

/** A button with an icon and, unless it is square, a word. @param {string} name @param {string} label @param {(event: MouseEvent) => void} onclick @param {Record<string, any>} [props] */
export function iconButton(name, label, onclick, props = {}) {
  return h('button', { type: 'button', class: 'plain square', title: label, 'aria-label': label, on: { click: onclick }, ...props }, icon(name));
}

let counter = 0;
/** An id no other element has. @param {string} stem */
export function freshId(stem) {
  return `${stem}-${++counter}`;
}

/** The element with this id, which is there. @param {string} id @returns {HTMLElement} */
export function at(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/**
 * Tabs that work by arrow keys.
 * @param {HTMLElement} list role=tablist with buttons role=tab
 * @param {(name: string) => void} chosen
 */
export function tabs(list, chosen) {
  const all = () => /** @type {HTMLElement[]} */ ([...list.querySelectorAll('[role=tab]')]).filter((tab) => !tab.hidden);
  const select = (/** @type {HTMLElement} */ tab, focus = false) => {
    for (const each of all()) {
      each.setAttribute('aria-selected', String(each === tab));
      each.tabIndex = each === tab ? 0 : -1;
    }
    if (focus) tab.focus();
    chosen(tab.dataset.tab ?? '');
  };
  list.addEventListener('click', (event) => {
    const tab = /** @type {HTMLElement} */ (event.target).closest('[role=tab]');
    if (tab) select(/** @type {HTMLElement} */ (tab));
  });
  list.addEventListener('keydown', (event) => {
    const tabs_ = all();
    const index = tabs_.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs_.length - 1 }[event.key];
    if (index < 0 || to === undefined) return;
    event.preventDefault();
    select(tabs_[(to + tabs_.length) % tabs_.length], true);
  });
  return (/** @type {string} */ name) => {
    const tab = all().find((each) => each.dataset.tab === name);
    if (tab) select(tab);
  };
}

/** Wait until nothing was asked for `ms`. @template {any[]} A @param {(...args: A) => void} work @param {number} ms */
export function later(work, ms) {
  let timer = 0;
  const call = (/** @type {A} */ ...args) => {
    clearTimeout(timer);
    timer = window.setTimeout(() => work(...args), ms);
  };
  call.stop = () => clearTimeout(timer);
  return call;
}

const TYPING = 250;
/** What was typed and is not told yet. @type {Set<() => void>} */
const untold = new Set();

/** Wait until someone stops typing; `settle` waits no longer. @param {() => void} work */
export function typing(work) {
  const tell = () => {
    untold.delete(tell);
    work();
  };
  const soon = later(tell, TYPING);
  const call = () => {
    untold.add(tell);
    soon();
  };
  call.stop = () => {
    untold.delete(tell);
    soon.stop();
  };
  return call;
}

/** Tell at once what was typed: a save or a deploy means what stands on the screen. */
export function settle() {
  for (const tell of [...untold]) tell();
}

/** A moment as people say it. @param {string | null | undefined} at */
export function ago(at) {
  if (!at) return '';
  const seconds = (Date.now() - Date.parse(at)) / 1000;
  if (!Number.isFinite(seconds)) return at;
  if (seconds < 45) return 'just now';
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(at).toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
}

/** @param {number} count @param {string} word @param {string} [words] */
export function plural(count, word, words = `${word}s`) {
  return `${count.toLocaleString('en')} ${count === 1 ? word : words}`;
}
