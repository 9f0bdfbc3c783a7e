// The head of the inspector for one node: its title, to be written over, its type and its id.

import { retitle } from '../model/edits.js';
import { titleOf } from '../model/types.js';
import { h, icon, put, tile } from './dom.js';

/** @param {any} app @param {HTMLElement} element @param {string} id @param {NodeType | undefined} type @param {HTMLElement} close */
export function nodeHead(app, element, id, type, close) {
  const spec = app.store.nodes.get(id);
  if (!spec || element.contains(document.activeElement) && element.dataset.id === id) return;
  element.dataset.id = id;
  const title = h('input', { class: 'title', value: spec.title ?? '', placeholder: titleOf({ type: spec.type }, id), 'aria-label': 'Title', disabled: app.readOnly, autocomplete: 'off' });
  title.addEventListener('change', () => {
    const made = retitle(app.store, id, title.value.trim(), app.fresh.has(id));
    if (app.fresh.delete(id)) app.fresh.add(made.id);
    title.blur();
    app.commit('Rename', made.ops);
    if (made.id !== id) app.selection.set([made.id]);
  });
  title.addEventListener('keydown', (event) => event.key === 'Enter' && title.blur());
  put(
    element,
    tile(type),
    h(
      'div',
      { class: 'names' },
      h('h2', { class: 'unseen' }, titleOf(spec, id)),
      title,
      h('div', { class: 'meta small muted' }, h('span', {}, type?.title ?? spec.type), h('button', { type: 'button', class: 'link id', title: 'Change id', 'aria-label': `Id ${id}: change`, disabled: app.readOnly, on: { click: () => app.run('change-id', { id }) } }, id)),
    ),
    h('button', { type: 'button', class: 'plain tiny', title: 'What can be done with it', 'aria-label': 'Actions of this node', 'aria-haspopup': 'menu', on: { click: (/** @type {MouseEvent} */ event) => {
      const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
      app.run('context-menu', { x: box.right - 260, y: box.bottom + 4 });
    } } }, icon('dots')),
    close,
  );
}
