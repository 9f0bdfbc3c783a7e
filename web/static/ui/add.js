// The Add panel: search, what fits after the selection, then every type by category.

import { score } from '../model/search.js';
import { titleOf } from '../model/types.js';
import { h, icon, put, tile } from './dom.js';
import { suggestions } from './suggest.js';

const CATEGORIES = {
  source: 'Sources', network: 'Network', logic: 'Logic', function: 'Work on values', storage: 'Storage',
  output: 'Outputs', flow: 'Flow', debug: 'Look and note',
};

/** @param {any} app @param {HTMLElement} element */
export function show(app, element) {
  const list = h('div', {});
  const input = h('input', { type: 'search', placeholder: 'Search nodes', 'aria-label': 'Search nodes', autocomplete: 'off', on: { input: () => draw() } });
  input.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown') /** @type {HTMLElement | null} */ (list.querySelector('.kind'))?.focus();
    else if (event.key === 'Enter') /** @type {HTMLElement | null} */ (list.querySelector('.kind'))?.click();
    else return;
    event.preventDefault();
  });
  list.addEventListener('keydown', (event) => step(event, list, input));
  put(element, h('div', { class: 'add-search' }, h('label', { class: 'find' }, icon('search'), input)), list);

  const draw = () => {
    const query = input.value.trim();
    const all = [...app.types.values()].filter((type) => type.kind !== 'connection');
    if (query) {
      const found = all
        .map((type) => ({ type, points: Math.max(score(query, type.name), score(query, type.title ?? ''), score(query, type.summary) * 0.5) }))
        .filter((each) => each.points > 0)
        .sort((a, b) => b.points - a.points);
      put(list, found.length ? found.map(({ type }) => row(app, type)) : h('p', { class: 'nothing' }, `No node for “${query}”.`));
      return;
    }
    const { only } = app.selection;
    const fitting = only ? suggestions(app, only).slice(0, 4) : [];
    const parts = fitting.length ? [section(`After ${titleOf(app.store.nodes.get(only), only)}`, fitting.map((type) => row(app, type)))] : [];
    for (const [name, title] of Object.entries(CATEGORIES)) {
      const types = all.filter((type) => (type.category ?? 'flow') === name);
      if (types.length) parts.push(section(title, types.map((type) => row(app, type))));
    }
    put(list, parts);
  };
  draw();
  let last = app.selection.only;
  return app.on('selection', () => {
    if (app.selection.only === last || input.value) return;
    last = app.selection.only;
    draw();
  });
}

/** @param {string} title @param {HTMLElement[]} rows */
function section(title, rows) {
  return h('section', { class: 'section' }, h('h2', {}, title), rows);
}

/** @param {any} app @param {NodeType} type */
function row(app, type) {
  const off = (type.powers ?? []).length > 0 && !app.can('powers');
  const element = h(
    'button',
    {
      type: 'button', class: 'kind', draggable: !off, title: off ? 'You may not add this: ask for the right “powers”.' : `${type.name}: ${type.summary}`, 'aria-disabled': off ? 'true' : undefined,
      on: {
        click: () => !off && app.run('add-node', { type: type.name, after: app.selection.only, wire: app.selection.wire, at: app.selection.only || app.selection.wire ? undefined : app.view.middle() }),
        dragstart: (/** @type {DragEvent} */ event) => event.dataTransfer?.setData('text/x-flowengine', type.name),
      },
    },
    tile(type),
    h('b', {}, type.title ?? type.name),
    h('small', {}, type.summary),
  );
  return element;
}

/** Up and down through the rows. @param {KeyboardEvent} event @param {HTMLElement} list @param {HTMLElement} input */
function step(event, list, input) {
  if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
  const rows = /** @type {HTMLElement[]} */ ([...list.querySelectorAll('.kind')]);
  const to = rows.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + (event.key === 'ArrowDown' ? 1 : -1);
  event.preventDefault();
  (rows[to] ?? (to < 0 ? input : rows[rows.length - 1])).focus();
}
