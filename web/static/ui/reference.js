// A value that stands elsewhere: a parameter of the flow, an environment variable, a secret by name.

import { freshId, h } from './dom.js';

/** `param`, `env` or `secret` when a value is such a reference. @param {any} value @param {string[]} [allowed] */
export function referenceOf(value, allowed = ['param', 'env', 'secret']) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return '';
  return allowed.find((kind) => typeof value[`$${kind}`] === 'string') ?? '';
}

/** @param {any} app @param {Field} field @param {any} value @param {string} kind @param {string} id @param {(value: any) => void} change */
export function reference(app, field, value, kind, id, change) {
  const options = field.references.map((each) => h('option', { value: each, selected: each === kind }, each === 'env' ? 'Environment' : each === 'param' ? 'Parameter' : 'Secret'));
  const kinds = h('select', { 'aria-label': `${field.label}: kind of reference`, on: { change: () => change({ [`$${kinds.value}`]: kinds.value === 'param' ? (Object.keys(app.store.head.params ?? {})[0] ?? 'name') : 'NAME' }) } }, options);
  const list = freshId('names');
  const names = kind === 'param' ? Object.keys(app.store.head.params ?? {}) : [];
  const name = h('input', { id, value: value[`$${kind}`], list: names.length ? list : undefined, spellcheck: false, class: 'mono', on: { change: () => change({ ...value, [`$${kind}`]: name.value.trim() }) } });
  const fallback = kind === 'env'
    ? h('input', { value: value.default ?? '', placeholder: 'default', 'aria-label': `${field.label}: default`, class: 'mono', on: { change: (/** @type {Event} */ event) => {
        const text = /** @type {HTMLInputElement} */ (event.target).value;
        const number = text !== '' && !Number.isNaN(Number(text)) && ['number', 'integer'].includes(field.widget) ? Number(text) : text;
        const { default: _, ...rest } = value;
        change(text === '' ? rest : { ...rest, default: number });
      } } })
    : null;
  return h('div', { class: 'reference' }, kinds, name, fallback, names.length ? h('datalist', { id: list }, names.map((each) => h('option', { value: each }))) : null);
}

/** The picker of a secret's name; its value is never shown and never in the flow. @param {any} app @param {Field} field @param {any} value @param {string} id @param {(value: any) => void} change */
export function secret(app, field, value, id, change) {
  const list = freshId('secrets');
  const name = h('input', { id, value: value?.$secret ?? '', list, placeholder: 'name of a secret', spellcheck: false, autocomplete: 'off', class: 'mono', on: { change: () => change(name.value.trim() ? { $secret: name.value.trim() } : undefined) } });
  const names = h('datalist', { id: list });
  app.api.get('/secrets').then((/** @type {any} */ { secrets }) => names.append(...secrets.map((/** @type {any} */ each) => h('option', { value: each.name }))), () => undefined);
  const store = h('button', { type: 'button', title: 'Store a value for this name: it can be written and never read', on: { click: async () => {
    const { ask } = await import('./ask.js');
    const given = await ask({ title: `Value of ${name.value || 'the secret'}`, label: 'Value', value: '', ok: 'Store', type: 'password', help: 'Kept encrypted on the server, shown to no one again, and not part of the flow.' });
    if (!given || !name.value) return;
    await app.api.call('PUT', `/secrets/${encodeURIComponent(name.value)}`, { body: { value: given } }).then(() => app.say(`The secret ${name.value} is stored.`), (/** @type {any} */ error) => app.problem(error));
  } } }, 'Set value…');
  return h('div', { class: 'joined' }, name, app.can('admin') ? store : null, names);
}
