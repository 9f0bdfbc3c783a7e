// The flow being edited, with indexes by id and one event per change. No DOM, no network.
//
// Everything that changes a flow goes through `apply`, which takes operations (ops.js) and answers
// with those that undo them. Views listen and redraw what was touched; they hold no truth.

import { applyOp } from './ops.js';
import { readWire, writeWire } from './wires.js';

/** @returns {Changed} */
export function nothingChanged() {
  return { nodes: new Set(), wires: new Set(), moved: new Set(), head: false, all: false };
}

export class Store {
  constructor() {
    /** Title, doc, params, connections and x- keys: the document without nodes and wires.
     * @type {Record<string, any>} */
    this.head = {};
    /** @type {Map<string, NodeSpec>} */
    this.nodes = new Map();
    /** @type {Map<string, Wire>} */
    this.wires = new Map();
    /** Top-left corners. @type {Map<string, Point>} */
    this.at = new Map();
    /** Wire ids that leave, or reach, a node. @type {Map<string, Set<string>>} */
    this.leaving = new Map();
    /** @type {Map<string, Set<string>>} */
    this.reaching = new Map();
    /** @type {Set<(changed: Changed) => void>} */
    this.listeners = new Set();
  }

  /**
   * Take another document in place of this one.
   * @param {FlowDoc} flow
   * @param {Record<string, Point>} layout
   */
  load(flow, layout) {
    const { nodes = {}, wires = [], ...head } = structuredClone(flow);
    this.head = head;
    this.nodes = new Map(Object.entries(nodes));
    this.wires = new Map();
    this.leaving = new Map();
    this.reaching = new Map();
    this.at = new Map(Object.entries(structuredClone(layout)).filter(([id]) => this.nodes.has(id)));
    for (const each of wires) this.addWire(readWire(each));
    this.tell({ ...nothingChanged(), head: true, all: true });
  }

  /** The document as the API takes it. @returns {FlowDoc} */
  flow() {
    const { 'x-groups': groups, ...head } = this.head;
    return structuredClone({
      ...head,
      ...(groups && Object.keys(groups).length && { 'x-groups': groups }),
      nodes: Object.fromEntries(this.nodes),
      wires: [...this.wires.values()].map(writeWire).sort(byText),
    });
  }

  /** Corners of the nodes that have one, rounded. @returns {Record<string, Point>} */
  layout() {
    return Object.fromEntries(
      [...this.at].map(([id, [x, y]]) => [id, /** @type {Point} */ ([Math.round(x), Math.round(y)])]),
    );
  }

  /**
   * Do operations as one change. Nothing is done when one of them cannot be.
   * @param {Op[]} ops
   * @returns {Op[]} what undoes them, in the order to be done
   */
  apply(ops) {
    const changed = nothingChanged();
    /** @type {Op[]} */
    const back = [];
    try {
      for (const op of ops) back.unshift(...applyOp(this, op, changed));
    } catch (error) {
      for (const op of back) applyOp(this, op, changed);
      throw error;
    }
    this.tell(changed);
    return back;
  }

  /** @param {(changed: Changed) => void} listener @returns {() => void} stops listening */
  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** @param {Changed} changed */
  tell(changed) {
    for (const listener of this.listeners) listener(changed);
  }

  /** @param {Wire} wire */
  addWire(wire) {
    this.wires.set(wire.id, wire);
    entry(this.leaving, wire.from).add(wire.id);
    entry(this.reaching, wire.to).add(wire.id);
  }

  /** @param {string} id */
  dropWire(id) {
    const wire = this.wires.get(id);
    if (!wire) return;
    this.wires.delete(id);
    this.leaving.get(wire.from)?.delete(id);
    this.reaching.get(wire.to)?.delete(id);
  }

  /** Wires out of a node. @param {string} id @returns {Wire[]} */
  out(id) {
    return this.pick(this.leaving.get(id));
  }

  /** Wires into a node. @param {string} id @returns {Wire[]} */
  into(id) {
    return this.pick(this.reaching.get(id));
  }

  /** @param {Iterable<string> | undefined} ids @returns {Wire[]} */
  pick(ids) {
    return [...(ids ?? [])].flatMap((id) => this.wires.get(id) ?? []);
  }

  /** @returns {Record<string, Group>} */
  get groups() {
    return this.head['x-groups'] ?? {};
  }
}

/** @param {Map<string, Set<string>>} index @param {string} id */
function entry(index, id) {
  let found = index.get(id);
  if (!found) index.set(id, (found = new Set()));
  return found;
}

/** @param {any} a @param {any} b */
function byText(a, b) {
  const [left, right] = [a, b].map((each) => (typeof each === 'string' ? each : `${each.from} -> ${each.to}`));
  return left < right ? -1 : left > right ? 1 : 0;
}
