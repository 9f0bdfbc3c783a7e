// A journal carried over to a document that someone else has changed: what still applies is kept.
//
// Two changes meet when one touches a property of the other, or one inside the other's. A step that
// meets what was changed elsewhere goes; so does one below it that meets that step, for what it
// would bring back was never there without it. What is left is tried on a copy before it is kept.

import { Store } from './store.js';

/** @typedef {{document: FlowDoc, layout: Record<string, Point>}} Version */

/**
 * The steps that still apply to `after`, and how many of them are done.
 * @param {Step[]} steps @param {number} done @param {FlowDoc} before @param {Version} after
 * @returns {{steps: Step[], done: number}}
 */
export function rebased(steps, done, before, after) {
  const changed = changedPaths(before, after.document);
  const undo = kept(steps.slice(0, done).reverse(), (step) => step.back, changed, after).reverse();
  const redo = kept(steps.slice(done), (step) => step.ops, changed, after);
  return { steps: [...undo, ...redo], done: undo.length };
}

/** @param {Step[]} steps in the order they would be done @param {(step: Step) => Op[]} way @param {Path[]} changed @param {Version} after */
function kept(steps, way, changed, after) {
  const met = [...changed];
  const copy = new Store();
  copy.load(after.document, after.layout);
  /** @type {Step[]} */
  const left = [];
  for (const each of steps) {
    const step = withoutStrangers(each, copy);
    const own = [...step.ops, ...step.back].flatMap(touched);
    let fits = step.ops.length > 0 && !own.some((path) => met.some((other) => meet(path, other)));
    if (fits) {
      try {
        copy.apply(way(step));
      } catch {
        fits = false;
      }
    }
    if (fits) left.push(step);
    else met.push(...own);
  }
  return left;
}

/** Of moves alone, those of nodes that are there. @param {Step} step @param {Store} store @returns {Step} */
function withoutStrangers(step, store) {
  if (!step.ops.every((op) => op.op === 'move')) return step;
  const only = (/** @type {Op[]} */ ops) => ops.flatMap((op) => {
    if (op.op !== 'move') return /** @type {Op[]} */ ([op]);
    const at = Object.fromEntries(Object.entries(op.at).filter(([id]) => store.nodes.has(id)));
    return /** @type {Op[]} */ (Object.keys(at).length ? [{ ...op, at }] : []);
  });
  return { ...step, ops: only(step.ops), back: only(step.back) };
}

/** What an operation touches of the document; a place is nobody's but its own. @param {Op} op @returns {Path[]} */
function touched(op) {
  if (op.op === 'put') return [op.path];
  if (op.op === 'wire') return [['wires', op.wire.id]];
  if (op.op === 'unwire') return [['wires', op.id]];
  return op.op === 'rename' ? [['nodes', op.from], ['nodes', op.to]] : [];
}

/** Whether one is the other, or lies inside it. @param {Path} a @param {Path} b */
function meet(a, b) {
  const shorter = Math.min(a.length, b.length);
  for (let at = 0; at < shorter; at++) if (String(a[at]) !== String(b[at])) return false;
  return true;
}

/** The properties in which two documents differ. @param {FlowDoc} before @param {FlowDoc} after @returns {Path[]} */
export function changedPaths(before, after) {
  const [old, fresh] = [before, after].map(({ wires, ...rest }) => {
    const store = new Store();
    store.load({ ...rest, wires }, {});
    return { ...rest, wires: Object.fromEntries(store.wires) };
  });
  /** @type {Path[]} */
  const found = [];
  compare(old, fresh, [], found);
  return found;
}

/** @param {any} a @param {any} b @param {Path} path @param {Path[]} found */
function compare(a, b, path, found) {
  if (!isMap(a) || !isMap(b)) {
    if (!same(a, b)) found.push(path);
    return;
  }
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const [left, right] = [a, b].map((map) => (Object.hasOwn(map, key) ? map[key] : undefined));
    compare(left, right, [...path, key], found);
  }
}

/** @param {any} value */
function isMap(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** @param {any} a @param {any} b @returns {boolean} */
function same(a, b) {
  if (Object.is(a, b)) return true;
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return false;
  const keys = Object.keys(a);
  return Array.isArray(a) === Array.isArray(b) && keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}
