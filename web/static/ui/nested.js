// Controls for values with parts: lists with up and down, maps, groups of fields, either-or.

import { titleOf } from '../model/types.js';
import { freshId, h, icon, iconButton, put } from './dom.js';
import { inline } from './markdown.js';
import { widget } from './widgets.js';

/** @typedef {(value: any) => void} Change */

/** A field inside another one. @param {any} app @param {Field} field @param {any} value @param {Change} change */
function inner(app, field, value, change) {
  const id = freshId('field');
  return h(
    'div',
    { class: `field inner widget-${field.widget}` },
    h('label', { class: 'label', for: id, id: `${id}-label` }, field.label, field.required ? h('span', { class: 'needed' }, 'required') : null, field.unit ? h('span', { class: 'muted' }, field.unit) : null),
    widget(app, field, value, id, change),
    field.help ? h('p', { class: 'help' }, inline(field.help)) : null,
  );
}

/** @param {any} app @param {Field} field @param {any} value @param {Change} change */
export function group(app, field, value, change) {
  let now = { ...(value ?? {}) };
  const fields = field.fields ?? [];
  const set = (/** @type {string} */ name, /** @type {any} */ next) => {
    now = { ...now };
    if (next === undefined) delete now[name];
    else now[name] = next;
    change(Object.keys(now).length ? now : undefined);
  };
  return h('div', { class: 'nested', role: 'group', 'aria-label': field.label }, fields.map((each) => inner(app, each, now[each.name], (next) => set(each.name, next))));
}

/** @param {any} app @param {Field} field @param {any} value @param {Change} change */
export function rows(app, field, value, change) {
  const item = /** @type {Field} */ (field.item);
  const box = h('div', { class: 'rows', role: 'group', 'aria-label': field.label });
  let list = Array.isArray(value) ? [...value] : value === undefined || value === null ? [...(field.default ?? [])] : [value];
  const tell = (redraw = true) => {
    change(list.length || field.required ? [...list] : undefined);
    if (redraw) draw();
  };
  const wide = ['group', 'union', 'rows', 'map'].includes(item.widget);
  const draw = (focus = -1) => {
    const made = list.map((each, at) => {
      const id = freshId('row');
      const control = wide
        ? parts(app, item, each, (next) => ((list[at] = next ?? {}), tell(false)))
        : widget(app, { ...item, label: `${field.label} ${at + 1}` }, each, id, (next) => ((list[at] = next ?? ''), tell(false)));
      if (!wide && 'id' in control && !control.getAttribute('aria-label')) {
        const named = control.matches('input, select, textarea') ? control : control.querySelector('input, select, textarea');
        named?.setAttribute('aria-label', `${field.label} ${at + 1}`);
      }
      const swap = (/** @type {number} */ other) => {
        [list[at], list[other]] = [list[other], list[at]];
        tell();
      };
      return h(
        'div',
        { class: `row${wide ? ' wide' : ''}` },
        control,
        h(
          'span',
          { class: 'row-tools' },
          list.length > 1 ? iconButton('up', `Move ${at + 1} up`, () => at && swap(at - 1), { class: 'plain tiny', disabled: at === 0 }) : null,
          iconButton('close', `Remove ${at + 1}`, () => (list.splice(at, 1), tell()), { class: 'plain tiny' }),
        ),
      );
    });
    const add = h('button', { type: 'button', class: 'add', on: { click: () => {
      list.push(wide ? {} : first(item));
      change([...list]);
      draw(list.length - 1);
    } } }, icon('plus'), `Add ${(item.label || 'one').toLowerCase()}`);
    put(box, made, add);
    if (focus >= 0) /** @type {HTMLElement | null} */ (box.querySelectorAll('.row')[focus]?.querySelector('input, select, textarea'))?.focus();
  };
  draw();
  return box;
}

/** @param {any} app @param {Field} item @param {any} value @param {Change} change */
function parts(app, item, value, change) {
  const flat = { ...item, label: item.label || 'Item' };
  return item.widget === 'group' ? group(app, flat, value, change) : widget(app, flat, value, freshId('part'), change);
}

/** What a new row begins with. @param {Field} item */
function first(item) {
  if (item.has_default && item.default !== null) return item.default;
  if (item.options?.length) return item.options[0].value;
  return item.widget === 'number' || item.widget === 'integer' ? 0 : '';
}

/** @param {any} app @param {Field} field @param {any} value @param {Change} change */
export function map(app, field, value, change) {
  const item = /** @type {Field} */ (field.item ?? { ...field, widget: 'json', label: 'Value', references: [] });
  const keyed = field.key_label ?? 'name';
  const box = h('div', { class: 'rows', role: 'group', 'aria-label': field.label });
  /** @type {[string, any][]} */
  let entries = Object.entries(value ?? {});
  const tell = () => {
    const kept = entries.filter(([key]) => key !== '');
    change(kept.length || field.required ? Object.fromEntries(kept) : undefined);
  };
  const draw = (focus = -1) => {
    const made = entries.map((entry, at) => {
      const key = h('input', { class: 'mono', value: entry[0], placeholder: keyed, spellcheck: false, 'aria-label': `${field.label}: ${keyed} ${at + 1}`, on: { change: () => ((entries[at] = [key.value.trim(), entries[at][1]]), tell()) } });
      const control = widget(app, { ...item, label: `${field.label}: value ${at + 1}` }, entry[1], freshId('value'), (next) => ((entries[at] = [entries[at][0], next ?? '']), tell()));
      const named = control.matches('input, select, textarea') ? control : control.querySelector('input, select, textarea');
      named?.setAttribute('aria-label', `${field.label}: value ${at + 1}`);
      return h('div', { class: 'row pair' }, key, control, h('span', { class: 'row-tools' }, iconButton('close', `Remove ${entry[0] || at + 1}`, () => (entries.splice(at, 1), tell(), draw()), { class: 'plain tiny' })));
    });
    put(box, made, h('button', { type: 'button', class: 'add', on: { click: () => (entries.push(['', first(item)]), draw(entries.length - 1)) } }, icon('plus'), `Add ${keyed}`));
    if (focus >= 0) /** @type {HTMLElement | null} */ (box.querySelectorAll('.row')[focus]?.querySelector('input'))?.focus();
  };
  draw();
  return box;
}

/** The way a value is of: the first whose kind fits. @param {{label: string, field: Field}[]} ways @param {any} value */
function wayOf(ways, value) {
  const fits = (/** @type {Field} */ field) => {
    if (value === null || value === undefined) return false;
    if (Array.isArray(value)) return field.widget === 'rows' || field.widget === 'checks' || field.widget === 'nodes' || field.widget === 'code';
    if (typeof value === 'object') {
      if (field.widget === 'map') return true;
      const names = new Set((field.fields ?? []).map((each) => each.name));
      return field.widget === 'group' && Object.keys(value).every((key) => names.has(key));
    }
    if (typeof value === 'number') return field.widget === 'number' || field.widget === 'integer';
    if (typeof value === 'boolean') return field.widget === 'switch';
    return !['rows', 'group', 'map', 'number', 'integer', 'switch', 'checks', 'nodes'].includes(field.widget);
  };
  const found = ways.findIndex((way) => fits(way.field));
  return Math.max(0, found);
}

/** @param {any} app @param {Field} field @param {any} value @param {Change} change */
export function union(app, field, value, change) {
  const ways = field.ways ?? [];
  const box = h('div', { class: 'union' });
  const name = freshId('way');
  let at = wayOf(ways, value);
  const part = h('div', {});
  const draw = (/** @type {any} */ now) => put(part, widget(app, { ...ways[at].field, label: ways[at].field.label || field.label }, now, freshId('part'), change));
  const choose = (/** @type {number} */ next) => {
    at = next;
    change(undefined);
    draw(undefined);
  };
  put(
    box,
    h('div', { class: 'segmented', role: 'radiogroup', 'aria-label': `${field.label}: kind` }, ways.map((way, index) => h('label', {}, h('input', { type: 'radio', name, checked: index === at, on: { change: () => choose(index) } }), h('span', {}, way.label)))),
    part,
  );
  draw(value);
  for (const control of part.querySelectorAll('input, select, textarea')) {
    if (!control.getAttribute('aria-label') && !control.closest('label')) control.setAttribute('aria-label', field.label);
  }
  return box;
}

/** Nodes of this flow. @param {any} app @param {Field} field @param {any} value @param {Change} change */
export function nodes(app, field, value, change) {
  let chosen = Array.isArray(value) ? [...value] : [];
  const box = h('div', { class: 'chips', role: 'group', 'aria-label': field.label });
  const draw = () => {
    const left = [...app.store.nodes.keys()].filter((id) => !chosen.includes(id) && id !== app.selection.only);
    const add = h('select', { 'aria-label': `${field.label}: add a node`, on: { change: () => (chosen.push(add.value), tell()) } }, h('option', { value: '' }, chosen.length ? 'add…' : 'all nodes; choose to narrow'), left.map((id) => h('option', { value: id }, titleOf(app.store.nodes.get(id), id))));
    put(box, chosen.map((id) => h('span', { class: 'chip' }, id, iconButton('close', `Remove ${id}`, () => ((chosen = chosen.filter((each) => each !== id)), tell()), { class: 'plain tiny' }))), add);
  };
  const tell = () => {
    change(chosen.length ? [...chosen] : undefined);
    draw();
  };
  draw();
  return box;
}
