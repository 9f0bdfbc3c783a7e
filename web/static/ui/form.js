// A form drawn from the type's fields: what is unset shows its default, what is wrong says so beside it.
//
// Only what the author set is written: "reset" takes the key away. A fault of a field is shown once
// the field was left, and at once for nodes that were there before.

import { freshId, h, icon, put } from './dom.js';
import { inline } from './markdown.js';
import { referenceOf, reference } from './reference.js';
import { widget } from './widgets.js';

/**
 * @typedef {{read: () => Record<string, any>, findings: () => Finding[], quiet: () => boolean, left: () => void, label: (field: string) => string}} Source
 */

export class FormView {
  /** @param {any} app @param {Form} form @param {Path} path where the config stands @param {Source} source */
  constructor(app, form, path, source) {
    this.app = app;
    this.path = path;
    this.source = source;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    this.known = JSON.stringify(source.read());
    const plain = form.fields.filter((field) => !field.advanced && !field.group);
    const config = source.read();
    const folds = new Map();
    for (const field of form.fields) {
      if (plain.includes(field)) continue;
      const name = field.group ?? 'advanced';
      folds.set(name, [...(folds.get(name) ?? []), field]);
    }
    /** What is wrong with no field alone. */
    this.whole = h('div', {});
    this.element = h(
      'form',
      { class: 'form', autocomplete: 'off', on: { submit: (/** @type {Event} */ event) => event.preventDefault() } },
      this.whole,
      plain.map((field) => this.row(field)),
      [...folds].map(([name, fields]) => {
        const set = fields.filter((/** @type {Field} */ field) => config[field.name] !== undefined).length;
        const title = name === 'advanced' ? 'Advanced' : name.charAt(0).toUpperCase() + name.slice(1);
        return h('details', { class: 'fold', open: set > 0 }, h('summary', {}, title, set ? h('span', { class: 'badge' }, `${set} set`) : null), fields.map((/** @type {Field} */ field) => this.row(field)));
      }),
      form.fields.length ? null : h('p', { class: 'nothing' }, 'Nothing to set.'),
    );
    this.element.addEventListener('focusout', () => {
      this.source.left();
      this.app.history.seal();
      this.faults();
    });
    this.faults();
  }

  /** @param {Field} field */
  row(field) {
    const row = new Row(this, field);
    this.rows.set(field.name, row);
    return row.element;
  }

  /** @param {Field} field @param {any} value undefined: unset */
  change(field, value) {
    const config = { ...this.source.read() };
    if (value === undefined) delete config[field.name];
    else config[field.name] = value;
    this.known = JSON.stringify(config);
    const path = [...this.path, field.name];
    this.app.commit(this.source.label(field.label), [{ op: 'put', path, ...(value !== undefined && { value }) }], path.join('.'));
    this.rows.get(field.name)?.marks(value);
  }

  /** The flow changed: draw again what changed elsewhere (undo, another person, replace). */
  refresh() {
    const config = this.source.read();
    const text = JSON.stringify(config);
    if (text !== this.known) {
      this.known = text;
      for (const row of this.rows.values()) row.take(config[row.field.name]);
    }
    this.faults();
  }

  faults() {
    const quiet = this.source.quiet();
    const stem = String(this.path.at(-1));
    const left = new Set(quiet ? [] : this.source.findings());
    for (const row of this.rows.values()) {
      const own = [...left].filter((finding) => belongs(finding.where.field, `${stem}.${row.field.name}`));
      own.forEach((finding) => left.delete(finding));
      row.fault(own);
    }
    put(this.whole, [...left].map((finding) => h('p', { class: finding.severity === 'warning' ? 'fault item is-warn' : 'fault item' }, told(finding))));
  }
}

/** @param {Finding} finding */
function told(finding) {
  return [icon('warning'), h('span', {}, finding.what, finding.mend ? h('span', { class: 'mend' }, ` ${finding.mend}`) : null)];
}

/** @param {string | null} place @param {string} field */
function belongs(place, field) {
  return place === field || Boolean(place?.startsWith(`${field}.`) || place?.startsWith(`${field}[`));
}

/** One field: label, control, help, fault. */
class Row {
  /** @param {FormView} form @param {Field} field */
  constructor(form, field) {
    this.form = form;
    this.field = field;
    this.id = freshId('field');
    this.slot = h('div', { class: 'slot' });
    this.problem = h('p', { class: 'fault', id: `${this.id}-fault` });
    this.reset = h('button', { type: 'button', class: 'plain tiny', title: 'Back to the default', 'aria-label': `${field.label}: back to the default`, on: { click: () => this.back() } }, icon('undo'));
    this.mode = h('button', { type: 'button', class: 'plain tiny', on: { click: () => this.switchMode() } }, icon('reference'));
    const labelled = !['group', 'rows', 'map', 'union', 'checks', 'segmented', 'nodes'].includes(field.widget);
    const marks = [field.required ? h('span', { class: 'needed' }, 'required') : null, field.unit ? h('span', { class: 'muted' }, field.unit) : null];
    const label = labelled
      ? h('label', { class: 'label', for: this.id }, field.label, marks)
      : h('span', { class: 'label', id: `${this.id}-label` }, field.label, marks);
    this.element = h(
      'div',
      { class: `field widget-${field.widget}`, data: { field: field.name } },
      h('div', { class: 'label-row' }, label, this.mode, this.reset),
      this.slot,
      field.help ? h('p', { class: 'help', id: `${this.id}-help` }, inline(field.help)) : null,
      this.problem,
    );
    this.take(form.source.read()[field.name]);
  }

  /** @param {any} value */
  take(value) {
    const { app } = this.form;
    const kind = referenceOf(value, this.field.references);
    const change = (/** @type {any} */ next) => this.form.change(this.field, next);
    const made = kind && this.field.widget !== 'secret'
      ? reference(app, this.field, value, kind, this.id, change)
      : widget(app, this.field, value, this.id, change);
    const focused = this.slot.contains(document.activeElement);
    put(this.slot, made);
    if (focused) /** @type {HTMLElement | null} */ (this.slot.querySelector('input, select, textarea, button'))?.focus();
    for (const control of this.slot.querySelectorAll('input, select, textarea, button')) {
      /** @type {HTMLInputElement} */ (control).disabled ||= app.readOnly;
      control.setAttribute('aria-describedby', `${this.id}-help ${this.id}-fault`);
    }
    this.marks(value);
  }

  /** @param {any} value */
  marks(value) {
    const { references, required, widget: kind } = this.field;
    const refers = referenceOf(value, references);
    this.reset.hidden = this.form.app.readOnly || value === undefined || (required && !refers);
    this.mode.hidden = this.form.app.readOnly || !references.length || kind === 'secret';
    const words = refers ? `${this.field.label}: use a value` : `${this.field.label}: use a parameter or the environment`;
    this.mode.setAttribute('aria-label', words);
    this.mode.title = refers ? 'Use a value' : 'Use a parameter or the environment';
    this.mode.setAttribute('aria-pressed', String(Boolean(refers)));
  }

  back() {
    this.form.change(this.field, undefined);
    this.take(undefined);
    /** @type {HTMLElement | null} */ (this.slot.querySelector('input, select, textarea, button'))?.focus();
  }

  switchMode() {
    const value = this.form.source.read()[this.field.name];
    const { app } = this.form;
    if (referenceOf(value, this.field.references)) return this.back();
    const [first] = Object.keys(app.store.head.params ?? {});
    const next = this.field.references.includes('param') && first ? { $param: first } : { $env: 'NAME' };
    this.form.change(this.field, next);
    this.take(next);
  }

  /** @param {Finding[]} findings */
  fault(findings) {
    const [worst] = findings;
    put(this.problem, worst ? told(worst) : []);
    this.problem.classList.toggle('is-warn', worst?.severity === 'warning');
    for (const control of this.slot.querySelectorAll('input, select, textarea')) control.setAttribute('aria-invalid', String(worst?.severity === 'error'));
  }
}
