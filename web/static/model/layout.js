// Tidy up: nodes in layers from left to right with few crossings, and a free spot for a new one.
//
// The usual four steps (Sugiyama): wires that go round are turned for the time being, every node
// stands right of all that lead to it, layers are sorted by the middle of their neighbours, and
// heights follow the neighbours as far as there is room.

import { GRID, around, boxOf, meet, sizeOf } from './size.js';

/** @typedef {import('./store.js').Store} Store */

const GAP_X = 72;
const NAMES_X = 32; // more of it where the names of outputs stand
const GAP_Y = 44;
const SWEEPS = 6;

/**
 * New places for some nodes, or all; their common corner stays where it is.
 * @param {Store} store @param {Types} types @param {Iterable<string>} [only]
 * @returns {Record<string, Point>}
 */
export function tidy(store, types, only) {
  const ids = [...(only ?? store.nodes.keys())].filter(
    (id) => store.nodes.has(id) && types.get(store.nodes.get(id)?.type ?? '')?.kind !== 'note',
  );
  if (!ids.length) return {};
  const placed = ids.filter((id) => store.at.has(id));
  const corner = around(placed.map((id) => boxOf(store, types, id)));
  const [left, top] = corner && only ? [corner.x, corner.y] : [40, 40];
  /** @type {Record<string, Point>} */
  const found = {};
  let below = top;
  for (const part of parts(store, ids)) {
    const places = tidyPart(store, types, part);
    const box = around(part.map((id) => ({ x: places[id][0], y: places[id][1], ...sizeOf(store, types, id) })));
    if (!box) continue;
    for (const id of part) {
      found[id] = [snap(left + places[id][0] - box.x), snap(below + places[id][1] - box.y)];
    }
    below += box.h + GAP_Y * 1.5;
  }
  return found;
}

/** Nodes that hang together, in the order of the flow. @param {Store} store @param {string[]} ids @returns {string[][]} */
function parts(store, ids) {
  const inside = new Set(ids);
  const seen = new Set();
  const found = [];
  for (const first of ids) {
    if (seen.has(first)) continue;
    seen.add(first);
    const part = [];
    const waiting = [first];
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
      part.push(id);
      const beside = [...store.out(id).map((wire) => wire.to), ...store.into(id).map((wire) => wire.from)];
      for (const other of beside) {
        if (!inside.has(other) || seen.has(other)) continue;
        seen.add(other);
        waiting.push(other);
      }
    }
    found.push(part);
  }
  return found;
}

/** @param {Store} store @param {Types} types @param {string[]} ids @returns {Record<string, Point>} */
function tidyPart(store, types, ids) {
  const { after, before } = forward(store, ids);
  const layer = layersOf(ids, after, before);
  /** @type {string[][]} */
  const layers = [];
  for (const id of ids) (layers[layer.get(id) ?? 0] ??= []).push(id);
  sortLayers(layers, after, before);
  return place(layers, after, before, (id) => sizeOf(store, types, id), (id) => (types.get(store.nodes.get(id)?.type ?? '')?.outputs?.length ?? 0) > 1);
}

/**
 * Neighbours along the wires, those that close a circle turned round.
 * @param {Store} store @param {string[]} ids
 */
function forward(store, ids) {
  const inside = new Set(ids);
  const after = new Map(ids.map((id) => [id, /** @type {string[]} */ ([])]));
  const before = new Map(ids.map((id) => [id, /** @type {string[]} */ ([])]));
  /** @type {Map<string, 'open' | 'done'>} */
  const state = new Map();
  const link = (/** @type {string} */ from, /** @type {string} */ to) => {
    if (after.get(from)?.includes(to)) return;
    after.get(from)?.push(to);
    before.get(to)?.push(from);
  };
  for (const first of ids) {
    if (state.has(first)) continue;
    // Depth first without recursion: a flow may be one chain of thousands.
    const stack = [{ id: first, wires: store.out(first), next: 0 }];
    state.set(first, 'open');
    while (stack.length) {
      const top = stack[stack.length - 1];
      const wire = top.wires[top.next++];
      if (!wire) {
        state.set(top.id, 'done');
        stack.pop();
      } else if (inside.has(wire.to) && wire.to !== top.id) {
        if (state.get(wire.to) === 'open') link(wire.to, top.id);
        else link(top.id, wire.to);
        if (!state.has(wire.to)) {
          state.set(wire.to, 'open');
          stack.push({ id: wire.to, wires: store.out(wire.to), next: 0 });
        }
      }
    }
  }
  return { after, before };
}

/** @typedef {Map<string, string[]>} Beside */

/** @param {string[]} ids @param {Beside} after @param {Beside} before @returns {Map<string, number>} */
function layersOf(ids, after, before) {
  const layer = new Map(ids.map((id) => [id, 0]));
  const missing = new Map(ids.map((id) => [id, before.get(id)?.length ?? 0]));
  const ready = ids.filter((id) => !missing.get(id));
  const order = [];
  for (let id = ready.shift(); id !== undefined; id = ready.shift()) {
    order.push(id);
    for (const next of after.get(id) ?? []) {
      layer.set(next, Math.max(layer.get(next) ?? 0, (layer.get(id) ?? 0) + 1));
      const left = (missing.get(next) ?? 0) - 1;
      missing.set(next, left);
      if (!left) ready.push(next);
    }
  }
  // A source stands right before what it feeds, not far off at the left edge.
  for (const id of order.reverse()) {
    const next = (after.get(id) ?? []).map((each) => layer.get(each) ?? 0);
    if (next.length && !before.get(id)?.length) layer.set(id, Math.min(...next) - 1);
  }
  return layer;
}

/** @param {string[][]} layers @param {Beside} after @param {Beside} before */
function sortLayers(layers, after, before) {
  const rank = new Map();
  const number = (/** @type {string[]} */ layer) => layer.forEach((id, index) => rank.set(id, index));
  layers.forEach(number);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : layers.toReversed()) {
      const middle = new Map(
        layer.map((id) => [id, mean(((down ? before : after).get(id) ?? []).map((each) => rank.get(each)))]),
      );
      layer.sort((a, b) => (middle.get(a) ?? rank.get(a)) - (middle.get(b) ?? rank.get(b)));
      number(layer);
    }
  }
}

/** @param {number[]} values @returns {number | null} */
function mean(values) {
  return values.length ? values.reduce((sum, each) => sum + each, 0) / values.length : null;
}

/**
 * @param {string[][]} layers @param {Beside} after @param {Beside} before
 * @param {(id: string) => Size} size @param {(id: string) => boolean} isNamed whether names stand at its outputs
 * @returns {Record<string, Point>}
 */
function place(layers, after, before, size, isNamed) {
  const middle = new Map();
  /** @type {Map<string, number>} */
  const x = new Map();
  let left = 0;
  for (const layer of layers) {
    let y = 0;
    for (const id of layer) {
      x.set(id, left);
      middle.set(id, y + size(id).h / 2);
      y += size(id).h + GAP_Y;
    }
    left += Math.max(...layer.map((id) => size(id).w)) + GAP_X + (layer.some(isNamed) ? NAMES_X : 0);
  }
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : layers.toReversed()) {
      const wanted = layer.map((id) => {
        const beside = (down ? before : after).get(id) ?? [];
        return mean(beside.map((each) => middle.get(each))) ?? middle.get(id);
      });
      spread(layer, wanted, (id) => size(id).h).forEach((y, index) => middle.set(layer[index], y));
    }
  }
  return Object.fromEntries(
    layers.flat().map((id) => [id, [x.get(id) ?? 0, middle.get(id) - size(id).h / 2]]),
  );
}

/**
 * Middles as near to the wanted ones as the order and the gaps allow: blocks that touch move
 * together, to the mean of what their members want.
 * @param {string[]} layer @param {number[]} wanted @param {(id: string) => number} height
 * @returns {number[]}
 */
function spread(layer, wanted, height) {
  /** @type {{first: number, offsets: number[], want: number}[]} */
  const blocks = [];
  layer.forEach((id, index) => {
    let block = { first: index, offsets: [0], want: wanted[index] };
    for (let above = blocks[blocks.length - 1]; above; above = blocks[blocks.length - 1]) {
      const last = above.first + above.offsets.length - 1;
      const gap = height(layer[last]) / 2 + height(layer[last + 1]) / 2 + GAP_Y;
      const start = above.offsets[above.offsets.length - 1] + gap;
      if (block.want >= above.want + start) break;
      blocks.pop();
      const offsets = [...above.offsets, ...block.offsets.map((each) => each + start)];
      const both = offsets.map((each, at) => wanted[above.first + at] - each);
      block = { first: above.first, offsets, want: mean(both) ?? 0 };
    }
    blocks.push(block);
  });
  return blocks.flatMap((block) => block.offsets.map((each) => block.want + each));
}

/** @param {number} value */
export function snap(value) {
  return Math.round(value / GRID) * GRID;
}

/**
 * The free place nearest to a wanted one: straight down first, then to the right.
 * @param {Store} store @param {Types} types @param {Point} wanted @param {Size} size
 * @param {Set<string>} [ignore]
 * @returns {Point}
 */
export function freeSpot(store, types, wanted, size, ignore = new Set()) {
  const boxes = [...store.at.keys()].filter((id) => !ignore.has(id)).map((id) => boxOf(store, types, id));
  const [x, y] = [snap(wanted[0]), snap(wanted[1])];
  for (let column = 0; column < 12; column++) {
    for (let row = 0; row < 40; row++) {
      // 0, 1, -1, 2, -2, ...: below, above, further below
      const step = (row % 2 ? 1 : -1) * Math.ceil(row / 2) * 2 * GRID;
      const box = { x: x + column * 12 * GRID, y: y + step, ...size };
      if (!boxes.some((other) => meet(box, other, 2 * GRID - 1))) return [box.x, box.y];
    }
  }
  return [x, y];
}

/** Places for the nodes that have none: below those that have one. @param {Store} store @param {Types} types @returns {Record<string, Point>} */
export function placeMissing(store, types) {
  const missing = [...store.nodes.keys()].filter((id) => !store.at.has(id));
  if (!missing.length) return {};
  if (missing.length === store.nodes.size) return notesBelow(store, types, tidy(store, types));
  const box = around([...store.at.keys()].map((id) => boxOf(store, types, id)));
  const [dx, dy] = box ? [box.x - 40, box.y + box.h + GAP_Y] : [0, 0];
  const found = notesBelow(store, types, tidy(store, types, missing), missing);
  return Object.fromEntries(Object.entries(found).map(([id, [x, y]]) => [id, [snap(x + dx), snap(y + dy)]]));
}

/** Notes in a row under what was laid out. @param {Store} store @param {Types} types @param {Record<string, Point>} found @param {string[]} [ids] */
function notesBelow(store, types, found, ids = [...store.nodes.keys()]) {
  const box = around(Object.entries(found).map(([id, [x, y]]) => ({ x, y, ...sizeOf(store, types, id) })));
  let left = box?.x ?? 40;
  const top = box ? box.y + box.h + GAP_Y : 40;
  for (const id of ids) {
    if (found[id]) continue;
    found[id] = [snap(left), snap(top)];
    left += sizeOf(store, types, id).w + 2 * GRID;
  }
  return found;
}
