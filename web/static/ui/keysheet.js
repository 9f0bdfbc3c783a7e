// All keys on one sheet, made from the registry.

import { all, titleOfAction } from '../actions/index.js';
import { freshId, h, iconButton } from './dom.js';

/** @param {any} app */
export function openKeys(app) {
  const id = freshId('keys');
  /** @type {Map<string, Action[]>} */
  const groups = new Map();
  for (const action of all()) if (action.keys?.length) groups.set(action.group, [...(groups.get(action.group) ?? []), action]);
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const close = () => {
    dialog.close();
    dialog.remove();
    before?.focus({ preventScroll: true });
  };
  const dialog = h(
    'dialog',
    { 'aria-labelledby': id, class: 'keysheet', on: { cancel: (/** @type {Event} */ event) => (event.preventDefault(), close()) } },
    h('header', {}, h('h2', { id }, 'Keys'), iconButton('close', 'Close', close, { class: 'plain tiny' })),
    h(
      'div',
      { class: 'body', tabIndex: 0 },
      [...groups].map(([group, actions]) => h('section', {}, h('h3', { class: 'muted' }, group), h('dl', { class: 'keys' }, actions.map((action) => h('div', {}, h('dt', {}, titleOfAction(action, app)), h('dd', {}, action.keys?.slice(0, 2).map((key) => h('kbd', {}, key.replace('Arrow', '')))))))),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}
