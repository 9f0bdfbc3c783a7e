// The Settings tab: the form of one node, of a wire, or of the flow when nothing is chosen.

import { plainText } from '../model/size.js';
import { h, put, typing } from './dom.js';
import { FormView } from './form.js';
import { flowForm } from './flowform.js';

/** Forms by type, asked for once. @type {Map<string, Promise<Form>>} */
const forms = new Map();

/** @param {any} app @param {string} type @returns {Promise<Form>} */
export function formOf(app, type) {
  let form = forms.get(type);
  if (!form) {
    form = /** @type {Promise<Form>} */ (app.api.get(`/node-types/${encodeURIComponent(type)}/form`));
    forms.set(type, form);
    form.catch(() => forms.delete(type));
  }
  return form;
}

/** @param {any} app @param {HTMLElement} element */
export function show(app, element) {
  /** @type {{refresh?: () => void, key: string}} */
  let shown = { key: '' };
  const draw = async () => {
    const { only, wire, nodes, wires } = app.selection;
    const spec = only ? app.store.nodes.get(only) : null;
    const key = only ? `node ${only} ${spec?.type}` : wire ? `wire ${wire}` : nodes.size + wires.size > 1 ? `many ${nodes.size}` : 'flow';
    if (key === shown.key) return shown.refresh?.();
    shown = { key };
    if (only) {
      shown.refresh = await nodeForm(app, element, only, () => shown.key === key);
      if (shown.key === key) element.dataset.node = only;
    } else if (wire) wireForm(app, element, wire);
    else if (key === 'flow') shown.refresh = flowForm(app, element);
    else put(element, h('p', { class: 'nothing' }, `${nodes.size} nodes and ${wires.size} wires are chosen. Drag to move them together, Ctrl+G groups them, Del removes them.`));
  };
  const stops = [app.on('selection', draw), app.on('changed', draw), app.on('check', () => shown.refresh?.())];
  void draw();
  return () => stops.forEach((stop) => stop());
}

/** @param {any} app @param {HTMLElement} element @param {string} id @param {() => boolean} still */
async function nodeForm(app, element, id, still) {
  const { type: name } = app.store.nodes.get(id);
  const type = app.types.get(name);
  if (!type) {
    put(element, h('div', { class: 'nothing' }, h('p', {}, `The type “${name}” is not installed. Everything of this node is kept as it is.`), h('pre', { class: 'diff', tabIndex: 0, 'aria-label': 'Its settings' }, JSON.stringify(app.store.nodes.get(id).config ?? {}, null, 2))));
    return undefined;
  }
  let form;
  try {
    form = await formOf(app, name);
  } catch (error) {
    if (still()) put(element, h('p', { class: 'nothing is-error' }, error.message));
    return undefined;
  }
  if (!still()) return undefined;
  const view = new FormView(app, form, ['nodes', id, 'config'], {
    read: () => app.store.nodes.get(id)?.config ?? {},
    findings: () => app.findings.get(id) ?? [],
    quiet: () => app.fresh.has(id),
    left: () => app.fresh.delete(id),
    label: (/** @type {string} */ field) => `Set ${field}`,
  });
  const doc = docField(app, () => app.store.nodes.get(id)?.doc, ['nodes', id, 'doc']);
  put(element, view.element, doc);
  return () => app.store.nodes.has(id) && view.refresh();
}

/** A note to whoever reads the flow. @param {any} app @param {() => any} read @param {Path} path */
export function docField(app, read, path) {
  const area = h('textarea', { rows: 3, value: plainText(read()), placeholder: 'What it is for, for whoever reads the flow', disabled: app.readOnly, 'aria-label': 'Note' });
  const save = typing(() => app.commit('Write note', [{ op: 'put', path, ...(area.value && { value: area.value }) }], path.join('.')));
  area.addEventListener('input', save);
  return h('details', { class: 'fold', open: Boolean(read()) }, h('summary', {}, 'Note'), h('div', { class: 'field' }, area));
}

const FULL = [['', 'as the engine decides'], ['block', 'block: push back'], ['drop-oldest', 'drop the oldest'], ['drop-newest', 'drop the newest'], ['spill', 'spill to disk']];

/** @param {any} app @param {HTMLElement} element @param {string} id */
function wireForm(app, element, id) {
  const wire = app.store.wires.get(id);
  if (!wire) return;
  const change = (/** @type {string} */ key, /** @type {any} */ value) => {
    const { [key]: _, ...settings } = app.store.wires.get(id)?.settings ?? {};
    if (value !== '' && value !== undefined) settings[key] = value;
    app.commit('Set up wire', [{ op: 'wire', wire: { ...wire, settings } }]);
  };
  const capacity = h('input', { type: 'number', min: 1, value: wire.settings.capacity ?? '', placeholder: 'no bound of its own', id: 'wire-capacity', disabled: app.readOnly, on: { change: () => change('capacity', capacity.value ? Number(capacity.value) : '') } });
  const full = h('select', { id: 'wire-full', disabled: app.readOnly, on: { change: () => change('when_full', full.value) } }, FULL.map(([value, label]) => h('option', { value, selected: value === (wire.settings.when_full ?? '') }, label)));
  const ends = (/** @type {string} */ end) => h('button', { type: 'button', class: 'link', on: { click: () => (app.selection.set([end]), app.focusNode(end)) } }, end);
  put(
    element,
    h('div', { class: 'field' }, h('p', {}, 'From ', ends(wire.from), ' to ', ends(wire.to))),
    h('div', { class: 'field' }, h('label', { class: 'label', for: 'wire-capacity' }, 'Capacity'), capacity, h('p', { class: 'help' }, 'Messages that may wait here.')),
    h('div', { class: 'field' }, h('label', { class: 'label', for: 'wire-full' }, 'When full'), full),
  );
}
