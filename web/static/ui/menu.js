// Menus: of the selection where the pointer is, and the main one; all their entries are actions.

import { find, keyOf, possible, titleOfAction } from '../actions/index.js';
import { h, icon } from './dom.js';

const NODE = ['open-settings', 'connect', 'run-now', 'inject', 'pin', '', 'rename', 'change-id', 'disable', 'disconnect', '', 'cut', 'copy', 'duplicate', 'group', 'ungroup', '', 'delete', 'delete-heal'];
const WIRE = ['insert-on-wire', 'show-data', 'pin', '', 'delete'];
const BOARD = ['quick-add', 'note', 'paste', '', 'select-all', 'tidy', 'fit', 'lock'];
const MAIN = ['new-flow', 'import', 'export', 'live-view', '', 'settings', 'search', 'show-tests', 'charts', 'toggle-canvas', 'discard', '', 'theme-light', 'theme-dark', 'theme-system', 'density', '', 'keys', 'help', 'people', 'password', 'log-out', '', 'delete-flow'];

/** @param {any} app @param {{x: number, y: number, at?: Point}} [place] */
export function openContext(app, place) {
  const ids = app.selection.nodes.size ? NODE : app.selection.wires.size ? WIRE : BOARD;
  const element = app.selection.focus && app.cards.element(app.selection.focus);
  const box = element?.getBoundingClientRect();
  open(app, ids, place ?? { x: box?.left ?? innerWidth / 2, y: box?.bottom ?? innerHeight / 2 }, { at: place?.at });
}

/** @param {any} app */
export function openMain(app) {
  const box = document.querySelector('[data-action="menu"]')?.getBoundingClientRect();
  open(app, MAIN, { x: (box?.right ?? innerWidth) - 230, y: (box?.bottom ?? 44) + 4 }, undefined);
}

/** @param {any} app @param {string[]} ids @param {{x: number, y: number}} place @param {any} args */
function open(app, ids, place, args) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  /** @type {(HTMLElement | null)[]} */
  const rows = [];
  for (const id of ids) {
    const action = id ? find(id) : null;
    if (id && (!action || !possible(action, app))) continue;
    if (!action) {
      if (rows.length && rows.at(-1)?.tagName !== 'HR') rows.push(h('hr', { role: 'separator' }));
      continue;
    }
    rows.push(
      h(
        'button',
        {
          type: 'button', role: 'menuitem', tabIndex: -1, class: id.startsWith('delete') ? 'danger' : '',
          on: {
            click: () => {
              close();
              app.run(action.id, args);
            },
          },
        },
        action.icon ? icon(action.icon) : h('i', { class: 'icon' }),
        h('span', {}, titleOfAction(action, app)),
        keyOf(action) ? h('kbd', {}, keyOf(action)) : null,
      ),
    );
  }
  if (rows.at(-1)?.tagName === 'HR') rows.pop();
  if (!rows.length) return;
  const menu = h('div', { class: 'menu', role: 'menu', popover: 'auto', 'aria-label': 'Actions' }, rows);
  const buttons = () => /** @type {HTMLElement[]} */ ([...menu.querySelectorAll('button')]);
  const close = () => {
    if (!menu.isConnected) return;
    menu.hidePopover();
    menu.remove();
    stop();
    if (document.activeElement === document.body) before?.focus({ preventScroll: true });
  };
  const stop = app.on('close-menus', close);
  menu.addEventListener('toggle', (event) => /** @type {any} */ (event).newState === 'closed' && close());
  menu.addEventListener('keydown', (event) => {
    const list = buttons();
    const now = list.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: list.length - 1 }[event.key];
    if (event.key === 'Escape' || event.key === 'Tab') close();
    else if (to !== undefined) list[(to + list.length) % list.length].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  document.body.append(menu);
  menu.showPopover();
  const { width, height } = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(place.x, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.max(8, Math.min(place.y, innerHeight - height - 8))}px`;
  buttons()[0].focus();
}
