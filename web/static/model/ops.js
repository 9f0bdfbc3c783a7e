// The five operations a flow changes by, each answering with the operations that undo it.
//
// `put` sets or removes one value of the document, so that two people who change different
// properties of one node do not meet. Operations are plain JSON: the journal keeps them.

import { makeWire } from './wires.js';

/** @typedef {import('./store.js').Store} Store */

/**
 * @param {Store} store
 * @param {Op} op
 * @param {Changed} changed
 * @returns {Op[]}
 */
export function applyOp(store, op, changed) {
  switch (op.op) {
    case 'put':
      return put(store, op, changed);
    case 'wire':
      return wire(store, op.wire, changed);
    case 'unwire':
      return unwire(store, op.id, changed);
    case 'move':
      return move(store, op.at, changed);
    case 'rename':
      return rename(store, op.from, op.to, changed);
    default:
      throw new Error(`no operation ${JSON.stringify(op)}`);
  }
}

/** @param {Store} store @param {{path: Path, value?: any}} op @param {Changed} changed @returns {Op[]} */
function put(store, { path, value }, changed) {
  if (path[0] !== 'nodes') {
    changed.head = true;
    return putInto(store.head, path, value, []);
  }
  const id = String(path[1]);
  changed.nodes.add(id);
  if (path.length === 2) return putNode(store, id, value);
  const spec = store.nodes.get(id);
  if (!spec) throw new Error(`no node "${id}"`);
  // A new object for a changed node, so that who holds the old one sees the old one.
  const copy = structuredClone(spec);
  const back = putInto(copy, path.slice(2), value, path.slice(0, 2));
  store.nodes.set(id, copy);
  return back;
}

/** @param {Store} store @param {string} id @param {NodeSpec | undefined} value @returns {Op[]} */
function putNode(store, id, value) {
  const before = store.nodes.get(id);
  if (value === undefined) {
    if (store.out(id).length || store.into(id).length) throw new Error(`node "${id}" still has wires`);
    store.nodes.delete(id);
  } else {
    store.nodes.set(id, structuredClone(value));
  }
  return [{ op: 'put', path: ['nodes', id], ...(before && { value: before }) }];
}

/**
 * Set `path` within `root`, making maps on the way and taking away those it leaves empty that it
 * would have made. @param {any} root @param {Path} path @param {any} value @param {Path} before
 * @returns {Op[]}
 */
function putInto(root, path, value, before) {
  let place = root;
  for (let index = 0; index < path.length - 1; index++) {
    const step = path[index];
    if (Object.hasOwn(place, step) && place[step] !== null && typeof place[step] === 'object') {
      place = place[step];
    } else if (value === undefined) {
      return [];
    } else {
      // The first step that is missing is what undoing takes away again.
      const old = Object.hasOwn(place, step) ? { value: place[step] } : {};
      assign(place, step, nest(path.slice(index + 1), structuredClone(value)));
      return [{ op: 'put', path: [...before, ...path.slice(0, index + 1)], ...old }];
    }
  }
  const last = path[path.length - 1];
  const back = { op: /** @type {const} */ ('put'), path: [...before, ...path] };
  const had = Object.hasOwn(place, last);
  const old = place[last];
  if (value !== undefined) assign(place, last, structuredClone(value));
  else if (Array.isArray(place)) throw new Error('a list is put as a whole');
  else delete place[last];
  return [had ? { ...back, value: old } : back];
}

/** Own property even for names as `__proto__`. @param {any} place @param {string | number} step @param {any} value */
function assign(place, step, value) {
  if (Array.isArray(place)) place[Number(step)] = value;
  else Object.defineProperty(place, step, { value, enumerable: true, configurable: true, writable: true });
}

/** @param {Path} path @param {any} value */
function nest(path, value) {
  return path.reduceRight((inner, step) => {
    const outer = {};
    assign(outer, step, inner);
    return outer;
  }, value);
}

/** @param {Store} store @param {Wire} added @param {Changed} changed @returns {Op[]} */
function wire(store, added, changed) {
  for (const end of [added.from, added.to]) {
    if (!store.nodes.has(end)) throw new Error(`no node "${end}"`);
  }
  const before = store.wires.get(added.id);
  store.addWire(structuredClone(added));
  changed.wires.add(added.id);
  return before ? [{ op: 'wire', wire: before }] : [{ op: 'unwire', id: added.id }];
}

/** @param {Store} store @param {string} id @param {Changed} changed @returns {Op[]} */
function unwire(store, id, changed) {
  const before = store.wires.get(id);
  if (!before) return [];
  store.dropWire(id);
  changed.wires.add(id);
  return [{ op: 'wire', wire: before }];
}

/** @param {Store} store @param {Record<string, Point | null>} at @param {Changed} changed @returns {Op[]} */
function move(store, at, changed) {
  /** @type {Record<string, Point | null>} */
  const before = {};
  for (const [id, point] of Object.entries(at)) {
    before[id] = store.at.get(id) ?? null;
    if (point) store.at.set(id, [point[0], point[1]]);
    else store.at.delete(id);
    changed.moved.add(id);
  }
  return [{ op: 'move', at: before }];
}

/**
 * Another id for a node, in everything that names it: its wires, its place, its group, and lists of
 * node ids in configs (`catch`, `status`).
 * @param {Store} store @param {string} from @param {string} to @param {Changed} changed
 * @returns {Op[]}
 */
function rename(store, from, to, changed) {
  const spec = store.nodes.get(from);
  if (!spec) throw new Error(`no node "${from}"`);
  if (store.nodes.has(to)) throw new Error(`there is a node "${to}" already`);
  const entries = [...store.nodes].map(([id, each]) => /** @type {const} */ ([id === from ? to : id, each]));
  const wires = [...store.out(from), ...store.into(from)];
  for (const each of wires) store.dropWire(each.id);
  store.nodes = new Map(entries);
  for (const each of wires) {
    const [start, end] = [each.from, each.to].map((id) => (id === from ? to : id));
    const renamed = makeWire(start, each.output, end, each.settings);
    store.addWire(renamed);
    changed.wires.add(each.id).add(renamed.id);
  }
  const place = store.at.get(from);
  if (place) store.at.set(to, place);
  store.at.delete(from);
  for (const group of Object.values(store.groups)) group.nodes = swap(group.nodes, from, to);
  for (const [id, each] of store.nodes) {
    const listed = each.config?.nodes;
    if (!Array.isArray(listed) || !listed.includes(from)) continue;
    store.nodes.set(id, { ...each, config: { ...each.config, nodes: swap(listed, from, to) } });
    changed.nodes.add(id);
  }
  changed.nodes.add(from).add(to);
  changed.moved.add(from).add(to);
  return [{ op: 'rename', from: to, to: from }];
}

/** @param {string[]} list @param {string} from @param {string} to */
function swap(list, from, to) {
  return list.map((id) => (id === from ? to : id));
}
