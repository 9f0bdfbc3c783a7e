// The journal: every change with what undoes it, unlimited, and able to survive a reload.
//
// A drag makes a hundred moves and one step: steps with the same key within a short time become
// one. The journal can be written down with the document it fits to, and taken up again: where the
// document at hand is another by then, what still applies is kept. `mark` is a document's fingerprint.

import { rebased } from './rebase.js';

const TOGETHER_MS = 1500;

/** @typedef {import('./store.js').Store} Store */

export class History {
  /**
   * @param {Store} store
   * @param {() => number} [now] milliseconds
   */
  constructor(store, now = Date.now) {
    this.store = store;
    this.now = now;
    /** @type {Step[]} */
    this.steps = [];
    /** How many of the steps are done; those after it were undone. */
    this.done = 0;
    this.sealed = true;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /**
   * Do a change and write it down. A change without an effect leaves no step.
   * @param {string} label as "Move 3 nodes"
   * @param {Op[]} ops
   * @param {string} [key] steps of one key that follow each other at once become one step
   * @returns {boolean} whether anything was done
   */
  commit(label, ops, key = '') {
    if (!ops.length) return false;
    const back = this.store.apply(ops);
    const time = this.now();
    const last = this.steps[this.done - 1];
    const joins = key !== '' && !this.sealed && last?.key === key && time - last.time < TOGETHER_MS;
    if (joins) {
      last.ops = [...last.ops, ...ops];
      last.back = [...back, ...last.back];
      last.time = time;
      if (ops.every((op) => op.op === 'move')) squeeze(last);
    } else {
      this.steps.splice(this.done, Infinity, { label, ops, back, key, time });
      this.done++;
    }
    this.sealed = false;
    this.tell();
    return true;
  }

  /** The next change is a step of its own: a drag has ended, a field was left. */
  seal() {
    this.sealed = true;
  }

  /** @returns {Step | null} the step that was undone */
  undo() {
    if (!this.done) return null;
    const step = this.steps[this.done - 1];
    this.store.apply(step.back);
    this.done--;
    this.sealed = true;
    this.tell();
    return step;
  }

  /** @returns {Step | null} the step that was done again */
  redo() {
    const step = this.steps[this.done];
    if (!step) return null;
    this.store.apply(step.ops);
    this.done++;
    this.sealed = true;
    this.tell();
    return step;
  }

  /** Undo or redo until `count` steps are done. @param {number} count */
  go(count) {
    while (this.done > count && this.undo());
    while (this.done < count && this.redo());
  }

  /** What to keep over a reload. */
  written() {
    return { mark: fingerprint(this.store), done: this.done, steps: this.steps, flow: this.store.flow() };
  }

  /**
   * Take up a journal again, as far as it fits the document at hand.
   * @param {any} kept what `written` gave
   * @returns {boolean} whether anything was taken up
   */
  takeUp(kept) {
    if (!kept || !Array.isArray(kept.steps)) return false;
    if (kept.mark !== fingerprint(this.store) && !kept.flow?.nodes) return false;
    this.steps = kept.steps;
    this.done = Math.min(kept.done, kept.steps.length);
    if (kept.mark !== fingerprint(this.store)) this.rebase(kept.flow);
    this.sealed = true;
    this.tell();
    return this.steps.length > 0;
  }

  /** The document was changed elsewhere: keep the steps that still apply. @param {FlowDoc} before as it was when the last step was done or undone */
  rebase(before) {
    const after = { document: this.store.flow(), layout: this.store.layout() };
    const { steps, done } = rebased(this.steps, this.done, before, after);
    this.steps = steps;
    this.done = done;
    this.sealed = true;
    this.tell();
  }

  /** @param {() => void} listener */
  listen(listener) {
    this.listeners.add(listener);
  }

  tell() {
    for (const listener of this.listeners) listener();
  }
}

/** Of many moves of the same nodes, the last place and the first one are enough. @param {Step} step */
function squeeze(step) {
  /** @type {Record<string, Point | null>} */
  const last = {};
  /** @type {Record<string, Point | null>} */
  const first = {};
  for (const op of step.ops) if (op.op === 'move') Object.assign(last, op.at);
  for (const op of step.back) if (op.op === 'move') Object.assign(first, op.at);
  step.ops = [{ op: 'move', at: last }];
  step.back = [{ op: 'move', at: first }];
}

/** A short text that differs for documents that differ. @param {Store} store */
export function fingerprint(store) {
  const text = JSON.stringify(sorted([store.flow(), store.layout()]));
  let [a, b] = [0x811c9dc5, 0x1b873593];
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b) + index;
  }
  return `${text.length.toString(36)}-${(a >>> 0).toString(36)}-${(b >>> 0).toString(36)}`;
}

/** Maps in the order of their keys, all the way down: order says nothing. @param {any} value @returns {any} */
export function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}
