// Small dialogs: one line of text, a yes or no, a new password. Escape is always "no".

import { freshId, h, iconButton, put } from './dom.js';

/**
 * @template T
 * @param {string} title @param {(Node | null)[]} body @param {string} ok
 * @param {() => T | undefined} read what OK answers with; undefined keeps the dialog open
 * @param {boolean} [danger]
 * @returns {Promise<T | null>}
 */
export function dialogue(title, body, ok, read, danger = false) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const id = freshId('dialog');
  return new Promise((done) => {
    const close = (/** @type {T | null} */ answer) => {
      dialog.close();
      dialog.remove();
      before?.focus?.({ preventScroll: true });
      done(answer);
    };
    const form = h('form', { method: 'dialog', class: 'body', id: `${id}-form`, on: { submit: (/** @type {Event} */ event) => {
      event.preventDefault();
      const answer = read();
      if (answer !== undefined) close(answer);
    } } }, body);
    const dialog = h(
      'dialog',
      { 'aria-labelledby': id, on: { cancel: (/** @type {Event} */ event) => (event.preventDefault(), close(null)) } },
      h('header', {}, h('h2', { id }, title), iconButton('close', 'Close', () => close(null), { class: 'plain tiny' })),
      form,
      h('footer', {}, h('button', { type: 'button', on: { click: () => close(null) } }, 'Cancel'), h('button', { type: 'submit', class: danger ? 'danger' : 'primary', form: `${id}-form` }, ok)),
    );
    document.body.append(dialog);
    dialog.showModal();
    const field = /** @type {HTMLInputElement | null} */ (form.querySelector('input, textarea, select'));
    field?.focus();
    if (field?.type === 'text') field.select();
  });
}

/**
 * @param {{title: string, label: string, value: string, ok: string, help?: string, check?: (text: string) => string, type?: string}} how
 * @returns {Promise<string | null>}
 */
export function ask({ title, label, value, ok, help, check, type = 'text' }) {
  const id = freshId('ask');
  const fault = h('p', { class: 'fault', role: 'alert', id: `${id}-fault` });
  const input = h('input', { id, type, value, autocomplete: 'off', spellcheck: false, 'aria-describedby': `${id}-fault` });
  const body = [h('label', { for: id, class: 'label' }, label), input, help ? h('p', { class: 'small muted help' }, help) : null, fault];
  return dialogue(title, body, ok, () => {
    const text = input.value.trim();
    const why = check?.(text) ?? '';
    put(fault, why);
    return why ? undefined : text;
  });
}

/** @param {{title: string, text: string, ok: string, danger?: boolean}} how @returns {Promise<boolean>} */
export async function confirm({ title, text, ok, danger = false }) {
  return (await dialogue(title, [h('p', {}, text)], ok, () => true, danger)) === true;
}

/** @param {any} app @returns {Promise<boolean>} whether it is changed */
export async function askPassword(app) {
  const fields = ['Current password', 'New password (10 characters or more)'].map((label, at) => {
    const id = freshId('password');
    const input = h('input', { id, type: 'password', autocomplete: at ? 'new-password' : 'current-password' });
    return { input, rows: [h('label', { for: id, class: 'label' }, label), input] };
  });
  const fault = h('p', { class: 'fault', role: 'alert' });
  const known = app.page.user?.has_password;
  const shown = known ? fields : [fields[1]];
  const answer = await dialogue('Change password', [...shown.flatMap((each) => each.rows), fault], 'Change', () => {
    const [old, fresh] = fields.map((each) => each.input.value);
    if (fresh.length < 10) put(fault, 'Take ten characters or more.');
    return fresh.length < 10 ? undefined : { old: known ? old : null, new: fresh };
  });
  if (!answer) return false;
  await app.api.call('PUT', '/session/password', { body: answer });
  app.say('The password is changed; other sessions have ended.');
  return true;
}
