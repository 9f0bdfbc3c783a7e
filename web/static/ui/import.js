// Importing: a file dropped or text pasted, then what it holds and what it would need, then the flow.

import { freshId, h, icon, iconButton, later, plural, put } from './dom.js';

/** @param {import('../net/api.js').Api} api @param {string} [given] */
export function openImport(api, given = '') {
  const id = freshId('import');
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const close = () => {
    dialog.close();
    dialog.remove();
    before?.focus({ preventScroll: true });
  };
  const area = h('textarea', { rows: 8, class: 'mono', placeholder: 'Paste a flow file or a bundle here, or drop a file', 'aria-label': 'Flow file', spellcheck: false, value: given });
  const file = h('input', { type: 'file', accept: '.json,application/json', hidden: true, 'aria-label': 'File to import', on: { change: () => file.files?.[0] && take(file.files[0]) } });
  const about = h('div', { class: 'about', 'aria-live': 'polite' });
  const go = h('button', { type: 'button', class: 'primary', disabled: true, on: { click: () => void bring() } }, 'Import');
  const take = async (/** @type {File} */ from) => {
    area.value = await from.text();
    void look();
  };
  const look = async () => {
    go.disabled = true;
    if (!area.value.trim()) return put(about);
    try {
      const found = await api.post('/import?dry_run=1', { text: area.value, id: null });
      put(about, summary(found));
      go.disabled = (found.powers ?? []).some((/** @type {any} */ each) => !each.allowed);
    } catch (error) {
      put(about, h('p', { class: 'fault' }, icon('cross'), h('span', {}, error.body?.findings?.[0]?.what ?? error.message, h('span', { class: 'mend' }, ` ${error.body?.findings?.[0]?.mend ?? error.mend}`))));
    }
  };
  const bring = async () => {
    go.disabled = true;
    try {
      const whole = await api.post('/import', { text: area.value, id: null });
      location.assign(`/flows/${encodeURIComponent(whole.state.id)}`);
    } catch (error) {
      put(about, h('p', { class: 'fault' }, icon('cross'), error.message));
      go.disabled = false;
    }
  };
  area.addEventListener('input', later(look, 300));
  const dialog = h(
    'dialog',
    {
      'aria-labelledby': id,
      on: {
        cancel: (/** @type {Event} */ event) => (event.preventDefault(), close()),
        dragover: (/** @type {DragEvent} */ event) => event.preventDefault(),
        drop: (/** @type {DragEvent} */ event) => {
          event.preventDefault();
          const [dropped] = event.dataTransfer?.files ?? [];
          if (dropped) void take(dropped);
        },
      },
    },
    h('header', {}, h('h2', { id }, 'Import a flow'), iconButton('close', 'Close', close, { class: 'plain tiny' })),
    h('div', { class: 'body' }, area, file, about),
    h('footer', {}, h('button', { type: 'button', on: { click: () => file.click() } }, icon('upload'), 'Choose a file'), h('span', { class: 'spacer' }), h('button', { type: 'button', on: { click: close } }, 'Cancel'), go),
  );
  document.body.append(dialog);
  dialog.showModal();
  area.focus();
  if (given) void look();
}

/** @param {any} found */
function summary(found) {
  const list = (/** @type {string} */ word, /** @type {string[]} */ names, /** @type {string} */ level) => (names?.length ? h('p', { class: level }, `${word}: ${names.join(', ')}`) : null);
  const nodes = Object.keys(found.document?.nodes ?? {}).length;
  return h(
    'div',
    { class: 'small' },
    h('p', {}, h('b', {}, found.document?.title ?? found.id), ` · ${plural(nodes, 'node')}${found.tests ? ` · ${plural(found.tests, 'test')}` : ''} · becomes “${found.id}”`),
    list('Types that are not installed (kept as they are)', found.missing_types, 'is-warn'),
    list('Needs the secrets', found.secrets, 'muted'),
    list('Reads from the environment', found.env, 'muted'),
    (found.powers ?? []).map((/** @type {any} */ each) => h('p', { class: each.allowed ? 'is-warn' : 'is-error' }, `${each.node} (${each.type}) uses ${each.powers.join(', ')}${each.allowed ? '' : ': not allowed for you'}`)),
    found.check?.errors ? h('p', { class: 'is-warn' }, `${plural(found.check.errors, 'problem')} to mend before a deploy`) : null,
  );
}
