// The Debug panel: what the debug nodes show. A pause holds a bounded number back and counts the rest.

import { outputName, titleOf } from '../model/types.js';
import { h, iconButton, put } from './dom.js';
import { clock, messageTree } from './jsontree.js';

const KEPT = 500;
const HELD = 2000;

/** @param {any} app @param {HTMLElement} element @param {HTMLElement} tools */
export function show(app, element, tools) {
  let paused = false;
  /** @type {any[]} */
  let held = [];
  let lost = 0;
  let filter = '';
  const list = h('div', { class: 'debug-list', role: 'log', 'aria-label': 'Debug messages', 'aria-live': 'off' });
  const none = h('p', { class: 'nothing' }, 'Nothing yet: wire a Debug node behind what you want to see, and deploy.');
  put(element, none, list);
  const gone = h('span', { class: 'small is-warn' });
  const pause = h('button', { type: 'button', on: { click: () => setPaused(!paused) } }, 'Pause');
  const find = h('input', { type: 'search', placeholder: 'Filter', 'aria-label': 'Filter messages', on: { input: () => {
    filter = find.value.toLowerCase();
    for (const each of list.children) /** @type {HTMLElement} */ (each).hidden = !matches(/** @type {HTMLElement} */ (each));
  } } });
  const clear = h('button', { type: 'button', on: { click: () => (put(list), (none.hidden = false), (lost = 0), words()) } }, 'Clear');
  put(tools, gone, find, pause, clear);

  const matches = (/** @type {HTMLElement} */ each) => !filter || (each.textContent ?? '').toLowerCase().includes(filter);
  const setPaused = (/** @type {boolean} */ to) => {
    paused = to;
    if (!paused) add(held.splice(0));
    words();
  };
  const words = () => {
    pause.textContent = paused ? `Continue${held.length ? ` (${held.length} held)` : ''}` : 'Pause';
    pause.setAttribute('aria-pressed', String(paused));
    gone.textContent = lost ? `${lost} not shown` : '';
  };
  const add = (/** @type {any[]} */ items) => {
    if (!items.length) return;
    none.hidden = true;
    const follows = element.parentElement ? element.parentElement.scrollTop + element.parentElement.clientHeight > element.parentElement.scrollHeight - 40 : true;
    list.append(...items.slice(-KEPT).map((item) => {
      const made = row(app, item);
      made.hidden = !matches(made);
      return made;
    }));
    while (list.childElementCount > KEPT) list.firstElementChild?.remove();
    if (follows && element.parentElement) element.parentElement.scrollTop = element.parentElement.scrollHeight;
  };
  const topic = `flow/${app.id}/debug`;
  const stops = [
    app.live.sub(topic, (/** @type {any} */ d) => {
      lost += d.lost ?? 0;
      if (!paused) add(d.items ?? []);
      else {
        held.push(...(d.items ?? []));
        if (held.length > HELD) lost += held.splice(0, held.length - HELD).length;
      }
      words();
    }),
    app.live.sub(`lost:${topic}`, (/** @type {number} */ n) => ((lost += n), words())),
  ];
  words();
  return () => stops.forEach((stop) => stop());
}

/** What a debug node shows comes out of the one output before it. @param {any} app @param {string} node */
function pinOf(app, node) {
  const into = app.store.into(node);
  if (into.length !== 1) return undefined;
  const output = `${into[0].from}.${outputName(app.store, app.types, into[0])}`;
  return (/** @type {string} */ path) => void import('./pins.js').then(({ pinsOf }) => pinsOf(app).toggle(output, path));
}

/** @param {any} app @param {any} item */
function row(app, { node, message }) {
  const spec = app.store.nodes.get(node);
  return h(
    'div',
    { class: 'line-row debug-row' },
    h('time', {}, clock(message?.time)),
    h('button', { type: 'button', class: 'link from mono', on: { click: () => spec && (app.selection.set([node]), app.focusNode(node)) } }, spec ? titleOf(spec, node) : node),
    messageTree(message, false, pinOf(app, node)),
    iconButton('copy', 'Copy this message', () => navigator.clipboard?.writeText(JSON.stringify(message, null, 2)), { class: 'plain tiny' }),
  );
}
