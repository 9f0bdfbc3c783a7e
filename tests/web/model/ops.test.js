// Operations change what they name and nothing else, and a wire is the same in both its forms.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as edits from '../../../web/static/model/edits.js';
import { readWire, writeWire } from '../../../web/static/model/wires.js';
import { coldRoom, PLACES, store, types } from './rig.js';

const TYPES = types();

test('a flow comes out as it went in', () => {
  const made = store();
  assert.deepEqual(made.flow(), coldRoom());
  assert.deepEqual(made.layout(), PLACES);
});

test('a wire with settings keeps them', () => {
  const written = { from: 'a.out', to: 'b', capacity: 1000, when_full: 'block' };
  assert.deepEqual(writeWire(readWire(written)), written);
  assert.deepEqual(writeWire(readWire('a.raised -> b')), 'a.raised -> b');
  assert.deepEqual(readWire('a->b').id, 'a -> b');
});

test('a rename follows into wires, place, groups and lists of ids', () => {
  const flow = coldRoom();
  flow.nodes.errors = { type: 'catch', config: { nodes: ['alarm', 'show'] } };
  const made = store(flow);
  made.apply(edits.group(made, ['alarm', 'show']).ops);
  const back = made.apply([{ op: 'rename', from: 'alarm', to: 'siren-alarm' }]);
  assert.deepEqual([...made.wires.keys()].sort(), [
    'plausible.passed -> siren-alarm',
    'readings -> plausible',
    'siren-alarm.raised -> show',
  ]);
  assert.deepEqual(made.at.get('siren-alarm'), [520, 40]);
  assert.deepEqual(made.groups.group.nodes, ['siren-alarm', 'show']);
  assert.deepEqual(made.nodes.get('errors')?.config?.nodes, ['siren-alarm', 'show']);
  made.apply(back);
  assert.equal(made.nodes.has('siren-alarm'), false);
  assert.deepEqual(made.nodes.get('errors')?.config?.nodes, ['alarm', 'show']);
});

test('removing the middle of a chain closes it when asked', () => {
  const made = store();
  made.apply(edits.removeNodes(made, TYPES, ['plausible'], { heal: true }));
  assert.deepEqual([...made.wires.keys()].sort(), ['alarm.raised -> show', 'readings -> alarm']);
});

test('a node put on a wire stands between its ends and the settings stay on the first half', () => {
  const flow = coldRoom();
  flow.wires[2] = /** @type {any} */ ({ from: 'readings', to: 'plausible', capacity: 5 });
  const made = store(flow);
  const { ops, id } = edits.insertOnWire(made, TYPES, TYPES.get('compute'), made.out('readings')[0]);
  made.apply(ops);
  assert.deepEqual(made.into(id).map((wire) => [wire.from, wire.settings]), [['readings', { capacity: 5 }]]);
  assert.deepEqual(made.out(id).map((wire) => wire.to), ['plausible']);
  assert.ok(made.at.get(id));
});

test('a new node is wired to the selection and stands free on its right', () => {
  const made = store();
  const { ops, id } = edits.addNode(made, TYPES, TYPES.get('debug'), { after: 'alarm' });
  made.apply(ops);
  assert.equal(made.into(id)[0].id, `alarm.cleared -> ${id}`);
  const [x, y] = made.at.get(id) ?? [0, 0];
  assert.equal(x, 760);
  assert.notEqual(y, 40);
});

test('names of the prototype are values like others', () => {
  const made = store();
  const back = made.apply([
    { op: 'put', path: ['nodes', 'alarm', 'config', '__proto__', 'polluted'], value: true },
  ]);
  assert.equal(/** @type {any} */ ({}).polluted, undefined);
  assert.ok(Object.hasOwn(made.nodes.get('alarm')?.config ?? {}, '__proto__'));
  made.apply(back);
  assert.deepEqual(made.flow(), coldRoom());
});

test('who holds a node from before a change sees it as it was', () => {
  const made = store();
  const before = made.nodes.get('alarm');
  made.apply([{ op: 'put', path: ['nodes', 'alarm', 'config', 'hold'], value: '2m' }]);
  assert.equal(before?.config?.hold, undefined);
  assert.equal(made.nodes.get('alarm')?.config?.hold, '2m');
});

test('listeners hear once per change what it touched', () => {
  const made = store();
  /** @type {any[]} */
  const heard = [];
  const stop = made.listen((changed) => heard.push(changed));
  made.apply(edits.addNode(made, TYPES, TYPES.get('debug'), { after: 'alarm' }).ops);
  stop();
  made.apply([{ op: 'put', path: ['title'], value: 'X' }]);
  assert.equal(heard.length, 1);
  assert.deepEqual([...heard[0].nodes], ['debug']);
  assert.deepEqual([...heard[0].wires], ['alarm.cleared -> debug']);
  assert.equal(heard[0].head, false);
});

test('a retitle may take the id along and never onto another', () => {
  const made = store();
  const { ops, id } = edits.retitle(made, 'alarm', 'Show', true);
  made.apply(ops);
  assert.equal(id, 'show-2');
  assert.equal(made.nodes.get('show-2')?.title, 'Show');
});
