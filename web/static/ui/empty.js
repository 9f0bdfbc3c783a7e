// What stands on an empty canvas: three ways to begin, and the one key to know.

import { h, icon, put } from './dom.js';

/** @param {any} app @param {HTMLElement} place */
export function showEmpty(app, place) {
  const begin = () => {
    const { addNode } = app.types.has('timer.tick') ? { addNode: true } : { addNode: false };
    if (!addNode) return app.run('quick-add');
    app.run('add-node', { type: 'timer.tick', at: app.view.middle(), config: { every: '1s' } });
    setTimeout(() => app.run('add-node', { type: 'debug', after: app.selection.only }), 0);
  };
  const card = (/** @type {string} */ picture, /** @type {string} */ category, /** @type {string} */ title, /** @type {string} */ text, /** @type {() => void} */ run) =>
    h('button', { type: 'button', class: 'card', on: { click: run } }, h('span', { class: `tile cat-${category}` }, icon(picture)), h('b', {}, title), h('span', {}, text));
  put(
    place,
    h(
      'div',
      {},
      h('h2', {}, 'An empty flow'),
      h('p', { class: 'muted' }, app.readOnly ? 'Nothing here yet.' : 'Nothing runs before you deploy.'),
      app.readOnly ? null : h(
        'div',
        { class: 'cards' },
        card('timer', 'source', 'Tick and debug', 'Two nodes, wired: the shortest flow that shows a value.', begin),
        card('book', 'function', 'Start from an example', 'Runs offline, with simulated devices.', () => location.assign('/#examples')),
        card('upload', 'storage', 'Import', 'A flow file, dropped or pasted.', () => app.run('import')),
      ),
      app.readOnly ? null : h('p', { class: 'muted' }, 'Press ', h('kbd', {}, '/'), ' to add a node'),
    ),
  );
}
