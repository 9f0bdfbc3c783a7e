// The outline: the flow as a tree in the order of its messages. Under 700 px it is the editor.

import { brief } from '../model/brief.js';
import { inOrder } from '../model/near.js';
import { noteText } from '../model/size.js';
import { titleOf } from '../model/types.js';
import { headline, rateText } from '../net/now.js';
import { h, icon, iconOf, put } from './dom.js';

/** @param {any} app @param {HTMLElement} element @param {HTMLElement} _tools */
export function show(app, element, _tools) {
  const tree = h('div', { class: 'tree', role: 'tree', 'aria-label': 'Nodes in the order of messages', 'aria-multiselectable': 'true' });
  /** @type {Map<string, {row: HTMLElement, live: HTMLElement, said: HTMLElement}>} */
  const rows = new Map();
  const none = h('div', { class: 'nothing' }, h('p', {}, 'Nothing here yet.'), h('button', { type: 'button', on: { click: () => app.run('quick-add') } }, icon('plus'), 'Add a node'));
  const add = h('button', { type: 'button', class: 'plain outline-add', disabled: app.readOnly, on: { click: () => app.run('quick-add') } }, icon('plus'), 'Add a node');
  put(element, tree, none, add);

  const draw = () => {
    rows.clear();
    const list = inOrder(app.store);
    none.hidden = list.length > 0;
    add.hidden = !none.hidden;
    tree.hidden = !list.length;
    put(tree, list.map(({ id, depth }, at) => row(id, depth, at, list.length)));
    mark();
    live();
  };

  const row = (/** @type {string} */ id, /** @type {number} */ depth, /** @type {number} */ at, /** @type {number} */ count) => {
    const spec = app.store.nodes.get(id);
    const type = app.types.get(spec.type);
    const worst = app.worst(id);
    const text = h('span', { class: 'live', 'aria-hidden': 'true' });
    const said = h('span', { class: 'unseen' }, `, ${app.describe(id, false)}`);
    const line = type?.kind === 'note' ? noteText(spec).split('\n')[0] : brief(spec, type) || type?.title || spec.type;
    const element = h(
      'div',
      { role: 'treeitem', tabIndex: -1, 'aria-level': String(Math.min(depth + 1, 6)), 'aria-posinset': String(at + 1), 'aria-setsize': String(count), class: `cat-${type?.category ?? 'debug'}`, data: { id } },
      icon(iconOf(type)),
      h('span', {}, h('b', {}, titleOf(spec, id), worst ? h('span', { class: worst.severity === 'error' ? 'is-error' : 'is-warn' }, worst.severity === 'error' ? ' ✕' : ' !') : null), h('small', {}, line), said),
      text,
    );
    element.style.paddingLeft = `${12 + Math.min(depth, 5) * 12}px`;
    rows.set(id, { row: element, live: text, said });
    return element;
  };

  const mark = () => {
    const { nodes, focus } = app.selection;
    const entry = focus && rows.has(focus) ? focus : (rows.keys().next().value ?? null);
    for (const [id, each] of rows) {
      each.row.setAttribute('aria-selected', String(nodes.has(id)));
      each.row.tabIndex = id === entry ? 0 : -1;
    }
  };

  const live = () => {
    for (const [id, each] of rows) {
      const outs = app.scene.boxes.get(id)?.outs ?? [];
      const value = outs.map((/** @type {string} */ output) => app.now.values.get(`${id}.${output}`)).find(Boolean);
      const rate = outs.reduce((/** @type {number} */ sum, /** @type {string} */ output) => sum + app.now.rate(id, output), 0);
      const text = headline(value, app.store.nodes.get(id)?.config?.field ?? '');
      const key = `${text}|${rateText(rate)}`;
      if (each.live.dataset.key === key) continue;
      each.live.dataset.key = key;
      each.said.textContent = `, ${app.describe(id, false)}`;
      put(each.live, text ? h('em', {}, text) : null, rateText(rate));
    }
  };

  tree.addEventListener('click', (event) => {
    const item = /** @type {HTMLElement} */ (event.target).closest('[role=treeitem]');
    const id = /** @type {HTMLElement | null} */ (item)?.dataset.id;
    if (!id) return;
    const many = event.ctrlKey || event.metaKey || event.shiftKey;
    if (many) app.selection.toggle(id);
    else app.selection.set([id]);
    if (innerWidth < 700 && !many) app.run('open-settings', { id });
    else go(id);
  });
  tree.addEventListener('contextmenu', (event) => {
    const id = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest('[role=treeitem]'))?.dataset.id;
    if (!id) return;
    event.preventDefault();
    if (!app.selection.nodes.has(id)) app.selection.set([id]);
    app.run('context-menu', { x: event.clientX, y: event.clientY });
  });
  tree.addEventListener('keydown', (event) => keys(event));

  const go = (/** @type {string} */ id) => {
    app.selection.focus = id;
    const box = app.scene.boxes.get(id);
    if (box) app.view.reveal(box);
    mark();
    rows.get(id)?.row.focus({ preventScroll: false });
  };

  const keys = (/** @type {KeyboardEvent} */ event) => {
    const ids = [...rows.keys()];
    const now = ids.indexOf(app.selection.focus ?? ids[0]);
    const to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: ids.length - 1 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (to !== undefined && ids[to]) {
      if (event.shiftKey) app.selection.set([...app.selection.nodes, ids[to]]);
      else app.selection.set([ids[to]]);
      go(ids[to]);
    } else if (event.key === ' ') app.selection.toggle(ids[now]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  draw();
  const stops = [
    app.on('changed', (/** @type {Changed} */ changed) => {
      const had = tree.contains(document.activeElement);
      if (changed.nodes.size || changed.wires.size || changed.all) draw();
      if (had && app.selection.focus) rows.get(app.selection.focus)?.row.focus();
    }),
    app.on('selection', mark),
    app.on('check', draw),
    app.on('types', draw),
    app.on('now', live),
  ];
  return () => stops.forEach((stop) => stop());
}
