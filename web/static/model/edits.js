// What people do to a flow, as lists of operations: add, connect, insert, remove, group, rename.
//
// Pure: each takes the store as it is and answers with operations and what should be selected.

import { freeId, idForType, slug } from './ids.js';
import { freeSpot, snap } from './layout.js';
import { sizeOf } from './size.js';
import { freeOutput, hasInput, outputName, outputsOf, refusal, wireFor } from './types.js';
import { makeWire } from './wires.js';

/** @typedef {import('./store.js').Store} Store */
/** @typedef {{ops: Op[], id: string}} Added */

const COLUMN = 240;

/** A new node's config: what the schema says of required fields by example. @param {NodeType} type */
export function firstConfig(type) {
  /** @type {Record<string, any>} */
  const config = {};
  for (const key of type.config?.required ?? []) {
    const field = type.config?.properties?.[key];
    if (field?.default !== undefined) continue;
    if (field?.examples?.length) config[key] = field.examples[0];
    else if (field?.format === 'duration') config[key] = '1s';
  }
  return config;
}

/** The flow's only connection of a fitting type, for each field that names one. @param {Store} store @param {NodeType} type */
function connectionsFor(store, type) {
  const all = Object.entries(store.head.connections ?? {});
  return Object.fromEntries(
    Object.entries(type.connections).flatMap(([field, kinds]) => {
      const fitting = all.filter(([, spec]) => kinds.includes(/** @type {any} */ (spec).type));
      const needed = type.config?.required?.includes(field);
      return needed && fitting.length ? [[field, fitting[0][0]]] : [];
    }),
  );
}

/**
 * A new node; with `after`, to its right and wired to it where that is allowed.
 * @param {Store} store @param {Types} types @param {NodeType} type
 * @param {{at?: Point, after?: string | null, output?: string, config?: Record<string, any>}} [how]
 * @returns {Added}
 */
export function addNode(store, types, type, how = {}) {
  const id = freeId(idForType(type.name), store.nodes);
  const config = how.config ?? { ...firstConfig(type), ...connectionsFor(store, type) };
  /** @type {NodeSpec} */
  const spec = { type: type.name, ...(Object.keys(config).length && { config }) };
  const after = how.after && store.nodes.has(how.after) ? how.after : null;
  const [x, y] = after ? (store.at.get(after) ?? [0, 0]) : [0, 0];
  const wanted = how.at ?? (after ? /** @type {Point} */ ([x + COLUMN, y]) : [40, 40]);
  const size = { w: 168, h: 56 };
  /** @type {Op[]} */
  const ops = [
    { op: 'put', path: ['nodes', id], value: spec },
    { op: 'move', at: { [id]: freeSpot(store, types, wanted, size) } },
  ];
  if (after && type.has_input) {
    const output = how.output ?? freeOutput(store, types, after);
    if (output !== null) ops.push({ op: 'wire', wire: wireFor(store, types, after, output, id) });
  }
  return { ops, id };
}

/**
 * A new node in the middle of a wire: the wire's two halves keep its settings on the first.
 * @param {Store} store @param {Types} types @param {NodeType} type @param {Wire} wire
 * @param {Point} [at]
 * @returns {Added}
 */
export function insertOnWire(store, types, type, wire, at) {
  const [from, to] = [store.at.get(wire.from) ?? [0, 0], store.at.get(wire.to) ?? [0, 0]];
  const middle = /** @type {Point} */ ([(from[0] + to[0]) / 2, (from[1] + to[1]) / 2]);
  const added = addNode(store, types, type, { at: at ?? middle });
  added.ops.push(...through(wire, added.id, outputsOf({ type: type.name }, type)[0] ?? 'out'));
  return added;
}

/** Lead a wire through a node that is there. @param {Store} store @param {Types} types @param {string} id @param {Wire} wire @returns {Op[]} */
export function leadThrough(store, types, id, wire) {
  const output = freeOutput(store, types, id);
  if (output === null || !hasInput(store, types, id) || wire.from === id || wire.to === id) return [];
  if (store.into(id).length || store.out(id).length) return [];
  return through(wire, id, output);
}

/** @param {Wire} wire @param {string} id @param {string} output @returns {Op[]} */
function through(wire, id, output) {
  return [
    { op: 'unwire', id: wire.id },
    { op: 'wire', wire: makeWire(wire.from, wire.output, id, wire.settings) },
    { op: 'wire', wire: makeWire(id, output === 'out' ? '' : output, wire.to) },
  ];
}

/** @param {Store} store @param {Types} types @param {string} from @param {string} output @param {string} to @returns {Op[]} */
export function connect(store, types, from, output, to) {
  if (refusal(store, types, from, output, to)) return [];
  return [{ op: 'wire', wire: wireFor(store, types, from, output, to) }];
}

/**
 * Remove nodes with their wires; a chain is closed over one that had one way in and one way out.
 * @param {Store} store @param {Types} types @param {Iterable<string>} ids @param {{heal?: boolean}} [how]
 * @returns {Op[]}
 */
export function removeNodes(store, types, ids, how = {}) {
  const gone = new Set([...ids].filter((id) => store.nodes.has(id)));
  /** @type {Op[]} */
  const ops = [];
  const cut = new Set();
  for (const id of gone) {
    for (const wire of [...store.into(id), ...store.out(id)]) {
      if (!cut.has(wire.id)) ops.push({ op: 'unwire', id: wire.id });
      cut.add(wire.id);
    }
  }
  if (how.heal && gone.size === 1) {
    const [id] = gone;
    const [into, out] = [store.into(id), store.out(id)];
    const ends = into.length === 1 && out.length === 1 && !store.out(into[0].from).some((wire) => wire.to === out[0].to && wire.output === into[0].output);
    if (ends) ops.push({ op: 'wire', wire: makeWire(into[0].from, into[0].output, out[0].to, into[0].settings) });
  }
  for (const [name, group] of Object.entries(store.groups)) {
    const left = group.nodes.filter((id) => !gone.has(id));
    if (left.length === group.nodes.length) continue;
    ops.push({ op: 'put', path: ['x-groups', name], ...(left.length && { value: { ...group, nodes: left } }) });
  }
  for (const id of gone) {
    ops.push({ op: 'move', at: { [id]: null } }, { op: 'put', path: ['nodes', id] });
  }
  return ops;
}

/** Take nodes that wires of a chain pass through out of it. @param {Store} store @param {Types} types @param {string} id @returns {Op[]} */
export function detach(store, types, id) {
  /** @type {Op[]} */
  const ops = [...store.into(id), ...store.out(id)].map((wire) => ({ op: 'unwire', id: wire.id }));
  for (const before of store.into(id)) {
    for (const after of store.out(id)) {
      const output = outputName(store, types, before);
      if (!refusal(store, types, before.from, output, after.to)) {
        ops.push({ op: 'wire', wire: wireFor(store, types, before.from, output, after.to) });
      }
    }
  }
  return ops;
}

/** @param {Store} store @param {Types} types @param {Iterable<string>} ids @param {number} dx @param {number} dy @returns {Op[]} */
export function moveBy(store, types, ids, dx, dy) {
  /** @type {Record<string, Point>} */
  const at = {};
  for (const id of ids) {
    const [x, y] = store.at.get(id) ?? [0, 0];
    at[id] = [snap(x + dx), snap(y + dy)];
  }
  return Object.keys(at).length ? [{ op: 'move', at }] : [];
}

/** @param {Store} store @param {Iterable<string>} ids @returns {Added} */
export function group(store, ids) {
  const chosen = [...new Set(ids)].filter((id) => store.nodes.has(id));
  const id = freeId('group', new Set(Object.keys(store.groups)));
  if (!chosen.length) return { ops: [], id };
  /** @type {Op[]} */
  const ops = ungroup(store, chosen);
  ops.push({ op: 'put', path: ['x-groups', id], value: { title: 'Group', nodes: chosen } });
  return { ops, id };
}

/** Take nodes out of the groups they are in. @param {Store} store @param {Iterable<string>} ids @returns {Op[]} */
export function ungroup(store, ids) {
  const chosen = new Set(ids);
  return Object.entries(store.groups).flatMap(([name, each]) => {
    const left = each.nodes.filter((id) => !chosen.has(id));
    if (left.length === each.nodes.length) return [];
    return [{ op: /** @type {const} */ ('put'), path: ['x-groups', name], ...(left.length && { value: { ...each, nodes: left } }) }];
  });
}

/** @param {Store} store @param {Iterable<string>} ids @param {boolean} disabled @returns {Op[]} */
export function setDisabled(store, ids, disabled) {
  return [...ids]
    .filter((id) => store.nodes.has(id) && Boolean(store.nodes.get(id)?.disabled) !== disabled)
    .map((id) => ({ op: 'put', path: ['nodes', id, 'disabled'], ...(disabled && { value: true }) }));
}

/** Another title; the id of a node that nothing names yet follows it. @param {Store} store @param {string} id @param {string} title @param {boolean} [follow] @returns {Added} */
export function retitle(store, id, title, follow = false) {
  /** @type {Op[]} */
  const ops = [];
  const wanted = slug(title);
  const to = follow && title && wanted !== id ? freeId(wanted, new Set([...store.nodes.keys()].filter((each) => each !== id))) : id;
  if (to !== id) ops.push({ op: 'rename', from: id, to });
  ops.push({ op: 'put', path: ['nodes', to, 'title'], ...(title && { value: title }) });
  return { ops, id: to };
}
