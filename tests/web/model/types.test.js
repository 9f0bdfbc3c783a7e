// A wire is refused at draw time, with the reason, exactly where `flowengine check` would refuse it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { freeOutput, outputsOf, portsOf, refusal, targetsFor, titleOf } from '../../../web/static/model/types.js';
import { coldRoom, store, types } from './rig.js';

const TYPES = types();

const REFUSED = [
  ['into a source', 'alarm', 'cleared', 'readings', /source/],
  ['to itself', 'alarm', 'cleared', 'alarm', /itself/],
  ['twice', 'readings', '', 'plausible', /already/],
  ['twice, the first output by name', 'readings', 'out', 'plausible', /already/],
  ['in a circle', 'alarm', 'cleared', 'plausible', /circle/],
  ['from an output that is not there', 'readings', 'late', 'alarm', /no output/],
  ['from a node that is gone', 'nobody', '', 'alarm', /gone/],
];

for (const [name, from, output, to, why] of REFUSED) {
  test(`refused ${name}`, () => {
    assert.match(refusal(store(), TYPES, String(from), String(output), String(to)), /** @type {RegExp} */ (why));
  });
}

test('allowed: another output, the error output, a node of a missing type', () => {
  const flow = coldRoom();
  flow.nodes.ghost = { type: 'nowhere.at-all' };
  const made = store(flow);
  assert.equal(refusal(made, TYPES, 'alarm', 'cleared', 'show'), '');
  assert.equal(refusal(made, TYPES, 'alarm', 'error', 'show'), '');
  assert.equal(refusal(made, TYPES, 'alarm', 'raised', 'ghost'), '');
  assert.equal(refusal(made, TYPES, 'ghost', 'whatever', 'show'), '');
});

test('the outputs of a route are the names in its rules', () => {
  const spec = { type: 'route', config: { rules: [{ to: 'hot' }, { to: 'cold' }, { to: 'hot' }], otherwise: 'rest' } };
  assert.deepEqual(outputsOf(spec, TYPES.get('route')), ['hot', 'cold', 'rest']);
  assert.deepEqual(outputsOf({ type: 'route' }, TYPES.get('route')), []);
});

test('a wire from an output that is gone keeps its port', () => {
  const flow = coldRoom();
  flow.nodes.sort = { type: 'route', config: { rules: [{ to: 'hot', when: 'true' }] } };
  flow.wires.push('sort.cold -> show');
  assert.deepEqual(portsOf(store(flow), TYPES, 'sort'), ['hot', 'cold']);
});

test('targets are only what may be wired, the nearest to the right first', () => {
  const made = store();
  assert.deepEqual(targetsFor(made, TYPES, 'readings', ''), ['alarm', 'show']);
});

test('the free output comes before those in use', () => {
  assert.equal(freeOutput(store(), TYPES, 'alarm'), 'cleared');
  assert.equal(freeOutput(store(), TYPES, 'show'), null);
});

test('a node without a title is called by its id in words', () => {
  assert.equal(titleOf({ type: 'x' }, 'room-readings'), 'Room readings');
});
