// One control for each kind of value. A control shows the value it is given and tells the next one.

import { freshId, h, typing } from './dom.js';
import { group, map, nodes, rows, union } from './nested.js';
import { secret } from './reference.js';

/** @typedef {(value: any) => void} Change */

/**
 * @param {any} app @param {Field} field @param {any} value undefined: not set @param {string} id of the control
 * @param {Change} change @returns {HTMLElement}
 */
export function widget(app, field, value, id, change) {
  switch (field.widget) {
    case 'switch':
      return toggle(field, value, id, change);
    case 'segmented':
      return segmented(field, value, id, change);
    case 'select':
      return select(field, value, id, change);
    case 'checks':
      return checks(field, value, change);
    case 'number':
    case 'integer':
      return number(field, value, id, change);
    case 'code':
      return code(app, field, value, id, change);
    case 'secret':
      return secret(app, field, value, id, change);
    case 'connection':
      return connection(app, field, value, id, change);
    case 'nodes':
      return nodes(app, field, value, change);
    case 'rows':
      return rows(app, field, value, change);
    case 'map':
      return map(app, field, value, change);
    case 'group':
      return group(app, field, value, change);
    case 'union':
      return union(app, field, value, change);
    case 'json':
      return json(field, value, id, change);
    default:
      return field.lines ? code(app, field, value, id, change) : text(app, field, value, id, change);
  }
}

/** @param {Field} field @param {any} value */
const effective = (field, value) => (value === undefined ? field.default : value);

/** A hint of the value that counts while nothing is set. @param {Field} field */
function hint(field) {
  if (field.has_default && field.default !== null && typeof field.default !== 'object') return String(field.default);
  return field.placeholder ?? (field.examples.length ? `for example ${field.examples[0]}` : '');
}

/** @param {Field} field @param {any} value @param {string} id @param {Change} change */
function toggle(field, value, id, change) {
  const input = h('input', { type: 'checkbox', role: 'switch', id, checked: Boolean(effective(field, value)), class: 'switch', on: { change: () => change(input.checked === field.default ? undefined : input.checked) } });
  return h('span', { class: 'switch-row' }, input);
}

/** @param {Field} field @param {any} value @param {string} id @param {Change} change */
function segmented(field, value, id, change) {
  const now = effective(field, value);
  const name = freshId('segment');
  const options = field.options ?? [];
  return h(
    'div',
    { class: 'segmented', role: 'radiogroup', 'aria-labelledby': `${id}-label` },
    options.map(({ value: each, label }, at) =>
      h('label', {}, h('input', { type: 'radio', name, id: at ? undefined : id, checked: each === now, on: { change: () => change(each === field.default ? undefined : each) } }), h('span', {}, label)),
    ),
  );
}

/** @param {Field} field @param {any} value @param {string} id @param {Change} change */
function select(field, value, id, change) {
  const now = effective(field, value);
  const options = field.options ?? [];
  const blank = !options.some((each) => each.value === now);
  const element = h(
    'select',
    { id, on: { change: () => {
      const chosen = options[Number(element.value)]?.value;
      change(chosen === field.default ? undefined : chosen);
    } } },
    blank ? h('option', { value: '', selected: true }, now === undefined || now === null ? 'choose…' : `${now} (unknown)`) : null,
    options.map((each, at) => h('option', { value: String(at), selected: each.value === now }, each.label)),
  );
  return element;
}

/** @param {Field} field @param {any} value @param {Change} change */
function checks(field, value, change) {
  const options = field.options ?? [];
  let chosen = [...(effective(field, value) ?? [])];
  const toggleOne = (/** @type {any} */ each, /** @type {boolean} */ on) => {
    chosen = options.map((option) => option.value).filter((option) => (option === each ? on : chosen.includes(option)));
    change(JSON.stringify(chosen) === JSON.stringify(field.default) ? undefined : chosen);
  };
  return h(
    'div',
    { class: 'checks', role: 'group', 'aria-label': field.label },
    options.map(({ value: each, label }) =>
      h('label', {}, h('input', { type: 'checkbox', checked: chosen.includes(each), on: { change: (/** @type {Event} */ event) => toggleOne(each, /** @type {HTMLInputElement} */ (event.target).checked) } }), label),
    ),
  );
}

/** @param {Field} field @param {any} value @param {string} id @param {Change} change */
function number(field, value, id, change) {
  // A text box with a numeric keyboard: a number box turns what it cannot read into nothing.
  const read = () => {
    const given = input.value.trim().replace(',', '.');
    if (given === '') return change(undefined);
    const parsed = Number(given);
    change(Number.isFinite(parsed) ? parsed : given);
  };
  const typed = typing(read);
  const input = h('input', { id, type: 'text', inputMode: 'decimal', value: value ?? '', placeholder: hint(field), on: { input: typed, change: () => (typed.stop(), read()) } });
  return input;
}

const LIVE = new Set(['expression', 'path', 'template', 'topic-template']);
const CODE = new Set(['expression', 'path', 'template', 'topic-template', 'topic-filter', 'duration', 'size', 'host']);

/** @param {any} app @param {Field} field @param {any} value @param {string} id @param {Change} change */
function text(app, field, value, id, change) {
  const typed = typing(() => change(input.value === '' && !field.required ? undefined : input.value));
  const list = field.options_from === 'topics' ? freshId('topics') : undefined;
  const shown = typeof value === 'string' || value === undefined || value === null ? (value ?? '') : JSON.stringify(value);
  const input = h('input', {
    id, type: 'text', value: shown, placeholder: hint(field), spellcheck: false, list,
    class: CODE.has(field.widget) ? 'mono' : '', on: { input: typed, change: () => (typed.stop(), change(input.value === '' && !field.required ? undefined : input.value)) },
  });
  livened(app, field, input);
  if (!list) return input;
  const topics = h('datalist', { id: list });
  input.addEventListener('focus', () => {
    app.api.get('/topics').then((/** @type {any} */ found) => topics.replaceChildren(...found.topics.map((/** @type {any} */ each) => h('option', { value: each.topic }))), () => undefined);
  }, { once: true });
  return h('div', {}, input, topics);
}

/** Show what comes of it while someone is in it; the preview is loaded when it is first wanted. @param {any} app @param {Field} field @param {HTMLInputElement | HTMLTextAreaElement} input */
function livened(app, field, input) {
  if (!LIVE.has(field.widget) || app.readOnly || !app.selection) return;
  input.addEventListener('focus', async () => {
    const { preview } = await import('./preview.js');
    if (document.activeElement === input) preview(app, field, input);
  });
}

/** Lines of code or text: Enter keeps the indent. @param {any} app @param {Field} field @param {any} value @param {string} id @param {Change} change */
function code(app, field, value, id, change) {
  const listed = Array.isArray(value);
  const template = field.widget !== 'code';
  const shown = listed ? value.join('\n') : (value ?? '');
  const tell = () => change(area.value === '' && !field.required ? undefined : listed || area.value.includes('\n') ? area.value.split('\n') : area.value);
  const typed = typing(tell);
  const rows = Math.min(16, Math.max(template ? 1 : 3, shown.split('\n').length));
  const area = h('textarea', { id, class: 'mono', rows, value: shown, placeholder: hint(field), spellcheck: false, wrap: 'off', 'aria-label': field.label, on: { input: typed, change: () => (typed.stop(), tell()) } });
  area.addEventListener('keydown', (event) => {
    // Escape first, then Tab leaves the field as it leaves any other.
    if (event.key !== 'Enter' || event.ctrlKey) return;
    const indent = /[^\n]*$/.exec(area.value.slice(0, area.selectionStart))?.[0].match(/^\s*/)?.[0] ?? '';
    if (!indent) return;
    event.preventDefault();
    area.setRangeText(`\n${indent}`, area.selectionStart, area.selectionEnd, 'end');
    area.dispatchEvent(new Event('input'));
  });
  const box = h('div', { class: 'code-box' }, area);
  void import('./code.js').then(({ dress }) => dress(box, area, template));
  livened(app, field, area);
  return box;
}

/** @param {any} app @param {Field} field @param {any} value @param {string} id @param {Change} change */
function connection(app, field, value, id, change) {
  const all = { ...app.page.flow.shared, ...app.store.head.connections };
  const fitting = Object.entries(all).filter(([, spec]) => field.connection_types.includes(/** @type {any} */ (spec).type));
  const known = fitting.some(([name]) => name === value);
  const element = h(
    'select',
    { id, on: { change: () => (element.value === '+' ? fresh() : change(element.value || undefined)) } },
    value === undefined || !known ? h('option', { value: value ?? '', selected: true }, value ? `${value} (missing)` : 'choose…') : null,
    fitting.map(([name, spec]) => h('option', { value: name, selected: name === value }, /** @type {any} */ (spec).title ?? name)),
    h('option', { value: '+' }, 'New…'),
  );
  const fresh = async () => {
    element.value = value ?? '';
    const { newConnection } = await import('./connections.js');
    const name = await newConnection(app, field.connection_types);
    if (name) change(name);
    if (name) element.replaceWith(connection(app, field, name, id, change));
  };
  const edit = h('button', { type: 'button', title: 'Settings of this connection', disabled: !known, on: { click: async () => (await import('./connections.js')).editConnection(app, element.value) } }, 'Edit');
  return h('div', { class: 'joined' }, element, edit);
}

/** What has no control of its own, as JSON. @param {Field} field @param {any} value @param {string} id @param {Change} change */
function json(field, value, id, change) {
  const area = h('textarea', { id, class: 'mono', rows: 4, value: value === undefined ? '' : JSON.stringify(value, null, 2), placeholder: hint(field) || 'JSON', spellcheck: false });
  area.addEventListener('change', () => {
    if (area.value.trim() === '') return change(undefined);
    try {
      change(JSON.parse(area.value));
      area.setCustomValidity('');
    } catch {
      // A text is a fair value where JSON may be any: quotes are for those who know them.
      change(area.value);
    }
  });
  return area;
}
