// Tidy up puts nodes left to right without overlaps, keeps the corner, and is quick for thousands.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { freeSpot, placeMissing, tidy } from '../../../web/static/model/layout.js';
import { meet, sizeOf } from '../../../web/static/model/size.js';
import { chance, coldRoom, store, types } from './rig.js';

const TYPES = types();

/** @param {number} count @param {number} seed */
function anyFlow(count, seed) {
  const random = chance(seed);
  /** @type {any} */
  const flow = { nodes: {}, wires: [] };
  for (let at = 0; at < count; at++) {
    flow.nodes[`n${at}`] = { type: random() < 0.3 ? 'threshold' : 'compute' };
    if (at && random() < 0.9) flow.wires.push(`n${Math.floor(random() * at)} -> n${at}`);
    if (at && random() < 0.2) flow.wires.push(`n${at} -> n${Math.floor(random() * at)}`);
  }
  return flow;
}

/** @param {any} made @param {Record<string, any>} places */
function overlaps(made, places) {
  const boxes = Object.entries(places).map(([id, [x, y]]) => ({ id, x, y, ...sizeOf(made, TYPES, id) }));
  return boxes.flatMap((a, at) => boxes.slice(at + 1).filter((b) => meet(a, b)).map((b) => [a.id, b.id]));
}

for (let seed = 1; seed <= 30; seed++) {
  test(`no two nodes overlap, circles and all (seed ${seed})`, () => {
    const made = store(anyFlow(60, seed), {});
    const places = tidy(made, TYPES);
    assert.equal(Object.keys(places).length, 60);
    assert.deepEqual(overlaps(made, places), []);
    assert.ok(Object.values(places).flat().every((each) => each % 10 === 0));
  });
}

test('wires lead to the right, and the same flow is laid out the same', () => {
  const made = store(coldRoom(), {});
  const places = tidy(made, TYPES);
  for (const wire of made.wires.values()) assert.ok(places[wire.from][0] + 168 < places[wire.to][0]);
  assert.deepEqual(tidy(made, TYPES), places);
  assert.ok(new Set(Object.values(places).map(([, y]) => y)).size === 1, 'a chain is straight');
});

test('a selection keeps its corner and leaves the others where they are', () => {
  const made = store(coldRoom(), { readings: [0, 0], plausible: [500, 300], alarm: [480, 700], show: [900, 0] });
  const places = tidy(made, TYPES, ['plausible', 'alarm']);
  assert.deepEqual(Object.keys(places).sort(), ['alarm', 'plausible']);
  assert.equal(Math.min(...Object.values(places).map(([x]) => x)), 480);
  assert.equal(Math.min(...Object.values(places).map(([, y]) => y)), 300);
});

test('a chain of 5,000 and a flow of 2,000 are laid out without recursion or a long wait', () => {
  /** @type {any} */
  const chain = { nodes: {}, wires: [] };
  for (let at = 0; at < 5000; at++) {
    chain.nodes[`n${at}`] = { type: 'compute' };
    if (at) chain.wires.push(`n${at - 1} -> n${at}`);
  }
  const made = store(chain, {});
  const places = tidy(made, TYPES);
  assert.equal(places.n4999[0] - places.n0[0], 4999 * 240);
  const began = process.cpuUsage().user;
  tidy(store(anyFlow(2000, 7), {}), TYPES);
  assert.ok(process.cpuUsage().user - began < 4e6);
});

test('a free spot is on no node, and the wanted place when that is free', () => {
  const made = store();
  const size = { w: 168, h: 56 };
  assert.deepEqual(freeSpot(made, TYPES, [40, 400], size), [40, 400]);
  const [x, y] = freeSpot(made, TYPES, [520, 40], size);
  for (const id of made.at.keys()) {
    const [left, top] = made.at.get(id) ?? [0, 0];
    assert.equal(meet({ x, y, ...size }, { x: left, y: top, ...sizeOf(made, TYPES, id) }), false);
  }
});

test('nodes without a place get one below, those with one stay', () => {
  const flow = coldRoom();
  flow.nodes.note = { type: 'comment', config: { text: 'hello' } };
  const made = store(flow, { readings: [40, 40], plausible: [280, 40] });
  const places = placeMissing(made, TYPES);
  assert.deepEqual(Object.keys(places).sort(), ['alarm', 'note', 'show']);
  assert.deepEqual(overlaps(made, { ...Object.fromEntries(made.at), ...places }), []);
});
