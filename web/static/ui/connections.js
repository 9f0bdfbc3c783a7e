// Connections in a dialog of their own: what kind, what name, and the form of its type.

import { freeId, slug } from '../model/ids.js';
import { dialogue } from './ask.js';
import { freshId, h, iconButton, put } from './dom.js';
import { FormView } from './form.js';
import { formOf } from './settings.js';

/** @param {any} app @param {string[]} [kinds] @returns {Promise<string | null>} its name */
export async function newConnection(app, kinds) {
  const types = [...app.types.values()].filter((type) => type.kind === 'connection' && (!kinds?.length || kinds.includes(type.name)));
  const [kindId, nameId] = [freshId('kind'), freshId('name')];
  const taken = new Set(Object.keys(app.store.head.connections ?? {}));
  const free = (/** @type {string} */ type) => freeId(slug(type.split('.')[0]), taken);
  const kind = h('select', { id: kindId, on: { change: () => (name.value = free(kind.value)) } }, types.map((type) => h('option', { value: type.name }, type.title ?? type.name)));
  const name = h('input', { id: nameId, type: 'text', value: types[0] ? free(types[0].name) : '' });
  const fault = h('p', { class: 'fault', role: 'alert' });
  const made = await dialogue('New connection', [h('label', { class: 'label', for: kindId }, 'Kind'), kind, h('label', { class: 'label', for: nameId }, 'Name'), name, fault], 'Add', () => {
    const id = name.value.trim();
    const why = !/^[a-z][a-z0-9-]*$/.test(id) ? 'Small letters, digits and dashes, a letter first.' : taken.has(id) ? 'There is a connection with this name.' : '';
    put(fault, why);
    return why ? undefined : { id, type: kind.value };
  });
  if (!made) return null;
  app.commit(`Add connection ${made.id}`, [{ op: 'put', path: ['connections', made.id], value: { type: made.type } }]);
  await editConnection(app, made.id, true);
  return made.id;
}

/** @param {any} app @param {string} name @param {boolean} [fresh] */
export async function editConnection(app, name, fresh = false) {
  const spec = app.store.head.connections?.[name];
  if (!spec) return app.say(`${name} is shared by the folder: change it in connections.json.`);
  let quiet = fresh;
  let form;
  try {
    form = await formOf(app, spec.type);
  } catch (error) {
    return app.problem(error);
  }
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const view = new FormView(app, form, ['connections', name, 'config'], {
    read: () => app.store.head.connections?.[name]?.config ?? {},
    findings: () => app.check.findings.filter((/** @type {Finding} */ finding) => finding.where.connection === name),
    quiet: () => quiet,
    left: () => (quiet = false),
    label: (field) => `Set ${field} of ${name}`,
  });
  const stop = app.on('check', () => view.refresh());
  const id = freshId('dialog');
  return new Promise((done) => {
    const close = () => {
      stop();
      dialog.close();
      dialog.remove();
      before?.focus?.({ preventScroll: true });
      done(undefined);
    };
    const remove = () => {
      close();
      app.commit(`Remove connection ${name}`, [{ op: 'put', path: ['connections', name] }]);
    };
    const dialog = h(
      'dialog',
      { 'aria-labelledby': id, class: 'connection', on: { cancel: (/** @type {Event} */ event) => (event.preventDefault(), close()) } },
      h('header', {}, h('h2', { id }, `${name} · ${form.title ?? spec.type}`), iconButton('close', 'Close', close, { class: 'plain tiny' })),
      h('div', { class: 'scroll' }, view.element),
      h('footer', {}, h('button', { type: 'button', class: 'danger', disabled: app.readOnly, on: { click: remove } }, 'Remove'), h('span', { class: 'spacer' }), h('button', { type: 'button', class: 'primary', on: { click: close } }, 'Done')),
    );
    document.body.append(dialog);
    dialog.showModal();
    /** @type {HTMLElement | null} */ (view.element.querySelector('input, select, textarea'))?.focus();
  });
}
