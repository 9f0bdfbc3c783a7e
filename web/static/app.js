// The editor as one object: the model, the views on it, what runs, and how a change is made.
//
// Panels and actions get this object; it draws nothing itself beyond the top bar's words.

import { handleKey, find } from './actions/index.js';
import { History } from './model/history.js';
import { Scene } from './model/scene.js';
import { Selection } from './model/selection.js';
import { Store } from './model/store.js';
import { titleOf } from './model/types.js';
import { Api } from './net/api.js';
import { Now, rateText } from './net/now.js';
import { at, h, icon, iconButton, plural, put } from './ui/dom.js';

export class App {
  /** @param {any} page the page's data block */
  constructor(page) {
    this.page = page;
    this.id = page.flow.state.id;
    this.readOnly = Boolean(page.read_only) || !page.user?.rights?.includes('edit');
    this.locked = false;
    this.api = new Api(page.base, page.csrf);
    /** The socket, once main.js has it. @type {any} */
    this.live = null;
    this.now = new Now();
    /** @type {Map<string, NodeType>} */
    this.types = new Map();
    this.store = new Store();
    this.store.load(page.flow.document, page.flow.layout);
    this.history = new History(this.store);
    this.selection = new Selection();
    this.scene = new Scene(this.store, this.types);
    /** Saving, once main.js has it. @type {any} */
    this.draft = null;
    /** @type {FlowState} */
    this.state = page.flow.state;
    /** @type {Check} */
    this.check = page.flow.check;
    /** @type {Map<string, Finding[]>} */
    this.findings = new Map();
    /** Nodes that differ from what is deployed. @type {Set<string>} */
    this.changedNodes = new Set();
    /** Nodes made just now: their faults are told after their first field was left. @type {Set<string>} */
    this.fresh = new Set();
    /** Panels that want to know of checks, states, types. @type {Map<string, Set<(data: any) => void>>} */
    this.hearers = new Map();
    this.label = '';
    this.moveMode = false;
    this.sort();
    // Set by main.js once the canvas stands.
    /** @type {any} */ this.view = null;
    /** @type {any} */ this.cards = null;
    /** @type {any} */ this.wires = null;
    /** @type {any} */ this.input = null;
    this.store.listen((changed) => this.changed(changed));
    this.selection.listen(() => this.chosen());
    this.history.listen(() => this.drawHistory());
    window.addEventListener('keydown', (event) => handleKey(this, event));
  }

  /** @param {string} right */
  can(right) {
    return !this.page.read_only && Boolean(this.page.user?.rights?.includes(right));
  }

  /** Listen to `check`, `state`, `types`, `people`, `theme`, `panel`. @param {string} what @param {(data: any) => void} listener */
  on(what, listener) {
    let listeners = this.hearers.get(what);
    if (!listeners) this.hearers.set(what, (listeners = new Set()));
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** @param {string} what @param {any} [data] */
  tell(what, data) {
    for (const listener of this.hearers.get(what) ?? []) listener(data);
  }

  /**
   * The one way to change the flow. @param {string} label @param {Op[]} ops @param {string} [key]
   * @returns {boolean} whether anything was changed
   */
  commit(label, ops, key = '') {
    if (this.readOnly) return false;
    this.label = label;
    try {
      return this.history.commit(label, ops, key);
    } catch (error) {
      this.say(`That could not be done: ${error.message}.`, 'error');
      return false;
    }
  }

  /** Run an action of the registry. @param {string} id @param {any} [args] */
  run(id, args) {
    const action = find(id);
    if (!action) throw new Error(`no action "${id}"`);
    if (this.readOnly && !action.reads) return undefined;
    if (action.when && !action.when(this)) return undefined;
    return Promise.resolve(action.run(this, args)).catch((error) => this.problem(error));
  }

  /** @param {Changed} changed */
  changed(changed) {
    this.scene.update(changed);
    this.draft?.changed(changed, this.label);
    this.selection.keep(this.store);
    if (!this.cards) return;
    const touched = new Set([...changed.nodes, ...changed.moved]);
    for (const id of changed.wires) touched.add(id.slice(0, id.search(/[. ]/)));
    if (changed.all) this.cards.touch([...this.cards.cards.keys()]);
    this.cards.touch(touched);
    this.tell('changed', changed);
    if (changed.nodes.size || changed.all) this.drawCounts();
  }

  chosen() {
    this.cards?.all();
    this.tell('selection');
    this.live?.send({ op: 'here', topic: `flow/${this.id}/ops`, selection: [...this.selection.nodes].slice(0, 50), doing: null });
  }

  /** A document from elsewhere in place of ours; what can still be undone of ours stays. @param {FlowDoc} document @param {Record<string, Point>} [layout] */
  takeDocument(document, layout = this.store.layout()) {
    const before = this.store.flow();
    this.store.load(document, layout);
    this.history.rebase(before);
  }

  /** @param {FlowState} state */
  gotState(state) {
    this.state = state;
    this.drawDeploy();
    this.tell('state', state);
  }

  /** @param {Check} check */
  gotCheck(check) {
    if (!check) return;
    const before = new Set(this.findings.keys());
    this.check = check;
    this.sort();
    this.cards?.touch([...before, ...this.findings.keys()]);
    this.drawProblems();
    this.tell('check', check);
  }

  sort() {
    this.findings = new Map();
    for (const finding of this.check?.findings ?? []) {
      const id = finding.where.node;
      if (id) this.findings.set(id, [...(this.findings.get(id) ?? []), finding]);
    }
  }

  /** The gravest finding of a node that should be shown by now. @param {string} id @returns {Finding | undefined} */
  worst(id) {
    const list = this.findings.get(id);
    return list?.find((finding) => finding.severity === 'error') ?? list?.[0];
  }

  /** A node as a screen reader says it. @param {string} id @param {boolean} [titled] its title first */
  describe(id, titled = true) {
    const spec = this.store.nodes.get(id);
    if (!spec) return id;
    const type = this.types.get(spec.type);
    const names = (/** @type {string[]} */ ids) => [...new Set(ids)].map((each) => titleOf(this.store.nodes.get(each) ?? { type: '' }, each)).join(', ');
    const out = this.store.out(id).map((wire) => wire.to);
    const into = this.store.into(id).map((wire) => wire.from);
    const rate = Object.values(this.now.nodes.get(id)?.rate ?? {}).reduce((sum, each) => sum + each, 0);
    return [
      titled && titleOf(spec, id),
      type?.title ?? spec.type,
      spec.disabled && 'disabled',
      this.worst(id)?.what,
      into.length && `input from ${names(into)}`,
      out.length && `output to ${names(out)}`,
      rate && rateText(rate).replace('/s', ' per second'),
    ].filter(Boolean).join(', ');
  }

  /** Put the focus on a node's card and have it in sight. @param {string} id @param {boolean} [reveal] */
  focusNode(id, reveal = true) {
    const before = this.selection.focus;
    this.selection.focus = id;
    const box = this.scene.boxes.get(id);
    if (box && reveal) this.view.reveal(box);
    this.cards.touch([before, id].filter(Boolean));
    const element = this.cards.element(id);
    element?.focus({ preventScroll: true });
    this.cards.draw();
  }

  /** @param {string | null} id @param {number} [x] @param {number} [y] */
  hoverWire(id, x = 0, y = 0) {
    if (this.wires.hover !== id) {
      this.wires.hover = id;
      this.view.touch();
    }
    this.tell('hover', { id, x, y });
  }

  closeMenus() {
    this.tell('close-menus');
  }

  /** One message at a time, bottom left; errors stay until read. @param {string} text @param {'info' | 'error'} [level] @param {{label: string, run: () => void}} [action] */
  say(text, level = 'info', action) {
    const toast = at('toast');
    clearTimeout(this.toastTimer);
    toast.className = `toast ${level}`;
    const close = () => (toast.hidden = true);
    put(
      toast,
      h('p', {}, text),
      action && h('button', { type: 'button', on: { click: () => (close(), action.run()) } }, action.label),
      iconButton('close', 'Close', close, { class: 'plain tiny' }),
    );
    toast.hidden = false;
    if (level !== 'error') this.toastTimer = window.setTimeout(close, 6000);
  }

  /** Said to screen readers alone. @param {string} text */
  speak(text) {
    at('said').textContent = text;
  }

  /** What went wrong, with what to do about it. @param {any} error */
  problem(error) {
    const first = error.body?.findings?.[0];
    const mend = error.mend || first?.mend || '';
    this.say([first?.what ?? error.message, mend].filter(Boolean).join(' '), 'error');
    if (!error.slug && !error.status) console.error(error);
  }

  drawHistory() {
    const { history } = this;
    const set = (/** @type {string} */ id, /** @type {string} */ word, /** @type {string} */ keys, /** @type {Step | undefined} */ step) => {
      const button = /** @type {HTMLButtonElement} */ (document.querySelector(`[data-action="${id}"]`));
      if (!button) return;
      button.disabled = !step || this.readOnly;
      button.title = step ? `${word} “${step.label}” (${keys})` : `${word} (${keys})`;
    };
    set('undo', 'Undo', 'Ctrl+Z', history.steps[history.done - 1]);
    set('redo', 'Redo', 'Ctrl+Y', history.steps[history.done]);
    this.tell('history');
  }

  drawDeploy() {
    const button = /** @type {HTMLButtonElement} */ (at('deploy'));
    const { draft, deployed } = this.state;
    const news = draft.changed || !deployed || !this.state.running;
    button.disabled = !news || !this.can('deploy');
    const count = this.changedNodes.size;
    put(button, news ? 'Deploy' : 'Up to date', news && count > 0 && h('span', { class: 'count' }, plural(count, 'change')));
    button.title = this.can('deploy') ? 'Show the plan (Ctrl+Enter)' : 'You may not deploy: ask for the right “deploy”.';
  }

  drawProblems() {
    const { errors, warnings } = this.check;
    const button = at('problem-count');
    button.className = `plain ${errors ? 'is-error' : warnings ? 'is-warn' : ''}`;
    const words = [errors && plural(errors, 'error'), warnings && plural(warnings, 'warning')].filter(Boolean).join(', ');
    put(button, icon(errors || warnings ? 'warning' : 'check'), h('span', { class: 'num' }, errors + warnings ? String(errors + warnings) : 'OK'), h('span', { class: 'unseen' }, ` problems: ${words || 'none'}`));
    button.title = words || 'No problems';
  }

  /** @param {string} state */
  drawSaved(state) {
    const words = { saved: 'Draft saved', saving: 'Saving…', waiting: 'Editing…', failed: 'Not saved' };
    const element = at('saved');
    element.textContent = /** @type {any} */ (words)[state] ?? '';
    element.classList.toggle('is-error', state === 'failed');
  }

  drawCounts() {
    at('counts').textContent = `${plural(this.store.nodes.size, 'node')}, ${plural(this.store.wires.size, 'wire')}`;
  }

  toastTimer = 0;
}
