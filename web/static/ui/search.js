// Search and replace in the whole flow: what would change is listed before anything does.

import { find, replaceOps, replacements } from '../model/search.js';
import { titleOf } from '../model/types.js';
import { freshId, h, iconButton, plural, put } from './dom.js';
import { goToNode } from './palette.js';

const MOST = 200;

/** @param {any} app */
export function openSearch(app) {
  const id = freshId('search');
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const close = () => {
    dialog.close();
    dialog.remove();
    before?.focus({ preventScroll: true });
  };
  let touched = false;
  const wanted = h('input', { type: 'search', placeholder: 'Search ids, titles, types and settings', 'aria-label': 'Search', on: { input: () => draw() } });
  const by = h('input', { type: 'text', placeholder: 'Replace by (in titles and settings)', 'aria-label': 'Replace by', disabled: app.readOnly, on: { input: () => ((touched = true), draw()) } });
  const exact = h('input', { type: 'checkbox', id: `${id}-exact`, on: { change: () => draw() } });
  const list = h('div', { class: 'results' });
  const go = h('button', { type: 'button', class: 'primary', disabled: true, on: { click: () => replace() } }, 'Replace');
  const draw = () => {
    const how = { exact: exact.checked };
    const changes = touched ? replacements(app.store, wanted.value, by.value, how) : [];
    go.disabled = !changes.length;
    go.textContent = changes.length ? `Replace in ${plural(changes.length, 'place')}` : 'Replace';
    const hits = touched && changes.length
      ? changes.map((each) => row(each.id, each.where, h('span', {}, h('del', { class: 'is-error' }, each.before), ' → ', h('ins', { class: 'is-ok' }, String(each.after)))))
      : find(app.store, wanted.value, how).map((each) => row(each.id, each.where, each.text));
    put(list, hits.slice(0, MOST), hits.length > MOST ? h('p', { class: 'nothing' }, `and ${hits.length - MOST} more`) : null, wanted.value && !hits.length ? h('p', { class: 'nothing' }, 'Nothing found.') : null);
  };
  const row = (/** @type {string} */ node, /** @type {string} */ where, /** @type {any} */ text) =>
    h('button', { type: 'button', class: 'line-row found', on: { click: () => (close(), goToNode(app, node)) } }, h('span', {}, h('b', {}, titleOf(app.store.nodes.get(node), node)), ' ', h('span', { class: 'small muted mono' }, where)), h('span', { class: 'mono small' }, text));
  const replace = () => {
    const changes = replacements(app.store, wanted.value, by.value, { exact: exact.checked });
    app.commit(`Replace “${wanted.value}” by “${by.value}”`, replaceOps(changes));
    app.history.seal();
    close();
    app.say(`Replaced in ${plural(changes.length, 'place')}.`, 'info', { label: 'Undo', run: () => app.run('undo') });
  };
  const dialog = h(
    'dialog',
    { 'aria-labelledby': id, class: 'search', on: { cancel: (/** @type {Event} */ event) => (event.preventDefault(), close()) } },
    h('header', {}, h('h2', { id }, 'Search and replace'), iconButton('close', 'Close', close, { class: 'plain tiny' })),
    h('div', { class: 'body' }, h('div', { class: 'rows' }, wanted, by, h('label', { class: 'checks', for: `${id}-exact` }, exact, 'Letter case counts')), list),
    h('footer', {}, h('button', { type: 'button', on: { click: close } }, 'Close'), go),
  );
  document.body.append(dialog);
  dialog.showModal();
  wanted.focus();
  draw();
}
