// Copy and paste as text: nodes with the wires among them, fresh ids, one step of the journal.

import { freeId } from './ids.js';
import { around, boxOf, meet } from './size.js';
import { makeWire, readWire, writeWire } from './wires.js';

/** @typedef {import('./store.js').Store} Store */

const MARK = 'flowengine/nodes';

/** @param {Store} store @param {Iterable<string>} ids @returns {string} JSON */
export function copyText(store, ids) {
  const chosen = [...ids].filter((id) => store.nodes.has(id));
  const inside = new Set(chosen);
  const wires = [...store.wires.values()].filter((wire) => inside.has(wire.from) && inside.has(wire.to));
  return JSON.stringify(
    {
      kind: MARK,
      nodes: Object.fromEntries(chosen.map((id) => [id, store.nodes.get(id)])),
      wires: wires.map(writeWire),
      layout: Object.fromEntries(chosen.flatMap((id) => (store.at.has(id) ? [[id, store.at.get(id)]] : []))),
    },
    null,
    2,
  );
}

/**
 * What was copied: our own text, or a whole flow file (or bundle).
 * @param {string} text
 * @returns {{nodes: Record<string, NodeSpec>, wires: any[], layout: Record<string, Point>} | null}
 */
export function readCopied(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isMap(found) || !isMap(found.nodes)) return null;
  const nodes = Object.entries(found.nodes).filter(([, spec]) => isMap(spec) && typeof spec.type === 'string');
  if (!nodes.length) return null;
  const wires = (Array.isArray(found.wires) ? found.wires : []).filter(
    (/** @type {any} */ wire) => typeof wire === 'string' || (isMap(wire) && wire.from && wire.to),
  );
  const layout = Object.entries(isMap(found.layout) ? found.layout : {}).filter(
    ([, at]) => Array.isArray(at) && at.length === 2 && at.every(Number.isFinite),
  );
  return { nodes: Object.fromEntries(nodes), wires, layout: Object.fromEntries(layout) };
}

/** @param {any} value */
function isMap(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Operations that add what was copied near a place, beside what is there.
 * @param {Store} store @param {Types} types @param {string} text @param {Point | null} [at]
 * @returns {{ops: Op[], ids: string[]}}
 */
export function paste(store, types, text, at = null) {
  const copied = readCopied(text);
  if (!copied) return { ops: [], ids: [] };
  const taken = new Set(store.nodes.keys());
  /** @type {Map<string, string>} */
  const names = new Map();
  for (const id of Object.keys(copied.nodes)) {
    const free = freeId(id, taken);
    names.set(id, free);
    taken.add(free);
  }
  const places = spots(store, types, copied, at);
  /** @type {Op[]} */
  const ops = [];
  for (const [id, spec] of Object.entries(copied.nodes)) {
    ops.push({ op: 'put', path: ['nodes', names.get(id) ?? id], value: renamed(spec, names) });
  }
  ops.push({
    op: 'move',
    at: Object.fromEntries(Object.entries(places).map(([id, point]) => [names.get(id) ?? id, point])),
  });
  for (const written of copied.wires) {
    const { from, output, to, settings } = readWire(written);
    const [start, end] = [names.get(from), names.get(to)];
    if (start && end) ops.push({ op: 'wire', wire: makeWire(start, output, end, settings) });
  }
  return { ops, ids: [...names.values()] };
}

/** A copy whose lists of node ids mean the copies. @param {NodeSpec} spec @param {Map<string, string>} names */
function renamed(spec, names) {
  const copy = structuredClone(spec);
  if (Array.isArray(copy.config?.nodes)) {
    copy.config.nodes = copy.config.nodes.map((/** @type {string} */ id) => names.get(id) ?? id);
  }
  return copy;
}

/** @param {Store} store @param {Types} types @param {{nodes: Record<string, NodeSpec>, layout: Record<string, Point>}} copied @param {Point | null} at */
function spots(store, types, copied, at) {
  const ids = Object.keys(copied.nodes);
  /** @type {Record<string, Point>} */
  const places = Object.fromEntries(ids.map((id, index) => [id, copied.layout[id] ?? [index * 240, 0]]));
  const boxes = ids.map((id) => ({ x: places[id][0], y: places[id][1], w: 168, h: 56 }));
  const box = around(boxes) ?? { x: 0, y: 0, w: 0, h: 0 };
  let [dx, dy] = at ? [at[0] - box.x, at[1] - box.y] : [20, 20];
  const others = [...store.at.keys()].map((id) => boxOf(store, types, id));
  const crowded = () =>
    boxes.some((one) => others.some((other) => meet({ ...one, x: one.x + dx, y: one.y + dy }, other)));
  for (let turn = 0; turn < 60 && crowded(); turn++) dy += 40;
  return Object.fromEntries(
    ids.map((id) => [id, /** @type {Point} */ ([places[id][0] + dx, places[id][1] + dy])]),
  );
}
