// Settings of the flow: title, doc, parameters and connections.

import { freshId, h, icon, iconButton, plural, put, typing } from './dom.js';
import { docField } from './settings.js';

const KINDS = ['number', 'integer', 'text', 'boolean', 'duration', 'list', 'map'];

/** @param {any} app @param {HTMLElement} element @returns {() => void} draws again what changed */
export function flowForm(app, element) {
  const { store } = app;
  const id = freshId('flow-title');
  const rename = typing(() => app.commit('Rename flow', [{ op: 'put', path: ['title'], ...(title.value && { value: title.value }) }], 'title'));
  const title = h('input', { id, value: store.head.title ?? '', disabled: app.readOnly, on: { input: rename }, placeholder: app.id });
  const params = h('div', {});
  const connections = h('div', {});
  const draw = () => {
    if (document.activeElement !== title) title.value = store.head.title ?? '';
    if (!params.contains(document.activeElement)) put(params, paramRows(app, draw));
    put(connections, connectionRows(app));
  };
  put(
    element,
    h('div', { class: 'field' }, h('label', { class: 'label', for: id }, 'Title'), title),
    docField(app, () => store.head.doc, ['doc']),
    h('details', { class: 'fold', open: true }, h('summary', {}, 'Parameters'), h('p', { class: 'help item' }, 'Values that a site may set differently.'), params),
    h('details', { class: 'fold', open: true }, h('summary', {}, 'Connections'), connections),
  );
  draw();
  return draw;
}

/** @param {any} app @param {() => void} again */
function paramRows(app, again) {
  const all = Object.entries(app.store.head.params ?? {});
  const put_ = (/** @type {string} */ name, /** @type {string} */ key, /** @type {any} */ value) =>
    app.commit('Set parameter', [{ op: 'put', path: ['params', name, key], ...(value !== undefined && value !== '' && { value }) }], `param ${name} ${key}`);
  const rows = all.map(([name, spec]) => {
    const value = h('input', { class: 'mono', value: shown(spec.default), placeholder: 'no default: required', 'aria-label': `${name}: default`, disabled: app.readOnly, on: { change: () => put_(name, 'default', read(spec.type, value.value)) } });
    const kind = h('select', { 'aria-label': `${name}: type`, disabled: app.readOnly, on: { change: () => put_(name, 'type', kind.value) } }, KINDS.map((each) => h('option', { value: each, selected: each === spec.type }, each)));
    return h(
      'div',
      { class: 'param' },
      h('span', { class: 'label' }, name, spec.unit ? h('span', { class: 'muted' }, spec.unit) : null),
      kind,
      iconButton('close', `Remove ${name}`, () => (app.commit(`Remove parameter ${name}`, [{ op: 'put', path: ['params', name] }]), again()), { class: 'plain tiny', disabled: app.readOnly }),
      h('span', { class: 'wide' }, value),
    );
  });
  const add = h('button', { type: 'button', class: 'plain', disabled: app.readOnly, on: { click: async () => {
    const { ask } = await import('./ask.js');
    const name = await ask({ title: 'New parameter', label: 'Name', value: '', ok: 'Add', help: 'Expressions write it as params.name.', check: (text) => (/^[a-z][a-z0-9_]*$/.test(text) ? (text in (app.store.head.params ?? {}) ? 'There is one with this name.' : '') : 'Small letters, digits and _, a letter first.') });
    if (name) app.commit(`Add parameter ${name}`, [{ op: 'put', path: ['params', name], value: { type: 'number', default: 0 } }]);
    again();
  } } }, icon('plus'), 'Add a parameter');
  return [...rows, h('div', { class: 'item' }, add)];
}

/** @param {any} value */
function shown(value) {
  return value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** What was typed as a value of the parameter's type; as it stands where it is none: `check` says so. @param {string} kind @param {string} text */
function read(kind, text) {
  if (text.trim() === '') return undefined;
  if (kind === 'text' || kind === 'duration') return text;
  try {
    return JSON.parse(text.trim());
  } catch {
    return text;
  }
}

/** @param {any} app */
function connectionRows(app) {
  const own = Object.entries(app.store.head.connections ?? {});
  const shared = Object.entries(app.page.flow.shared ?? {});
  const users = (/** @type {string} */ name) => [...app.store.nodes.values()].filter((spec) => Object.values(spec.config ?? {}).includes(name)).length;
  const rows = own.map(([name, spec]) => {
    const state = app.now.states.get(name);
    return h(
      'div',
      { class: 'item' },
      icon('cat-connection'),
      h('span', { class: 'grow' }, h('b', {}, name), ' ', h('span', { class: 'small muted' }, `${spec.type} · ${plural(users(name), 'node')}`)),
      state && state.state !== 'running' ? h('span', { class: 'small is-warn' }, state.state) : null,
      h('button', { type: 'button', class: 'link', on: { click: async () => (await import('./connections.js')).editConnection(app, name) } }, 'Edit', h('span', { class: 'unseen' }, ` ${name}`)),
    );
  });
  const add = h('button', { type: 'button', class: 'plain', disabled: app.readOnly, on: { click: async () => (await import('./connections.js')).newConnection(app) } }, icon('plus'), 'Add a connection');
  return [
    ...rows,
    ...shared.map(([name, spec]) => h('div', { class: 'item' }, icon('cat-connection'), h('span', { class: 'grow' }, h('b', {}, name), ' ', h('span', { class: 'small muted' }, `${/** @type {any} */ (spec).type} · shared by the folder`)))),
    h('div', { class: 'item' }, add),
  ];
}

