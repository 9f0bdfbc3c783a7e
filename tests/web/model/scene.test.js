// Where things are drawn is the same whether it was kept up step by step or worked out anew.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as edits from '../../../web/static/model/edits.js';
import { nearest, alongWire, inOrder } from '../../../web/static/model/near.js';
import { Scene } from '../../../web/static/model/scene.js';
import { chance, store, types } from './rig.js';

const TYPES = types();

/** @param {Scene} scene */
function drawn(scene) {
  const sorted = (/** @type {Map<string, any>} */ map) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([sorted(scene.boxes), sorted(scene.ways)]);
}

for (let seed = 1; seed <= 30; seed++) {
  test(`moves, wires and new nodes leave no stale box or way (seed ${seed})`, () => {
    const made = store();
    const scene = new Scene(made, TYPES);
    made.listen((changed) => scene.update(changed));
    const random = chance(seed);
    const pick = (/** @type {any[]} */ list) => list[Math.floor(random() * list.length)];
    for (let turn = 0; turn < 40; turn++) {
      const ids = [...made.nodes.keys()];
      const some = ids.filter(() => random() < 0.6);
      const choices = [
        () => edits.moveBy(made, TYPES, some, Math.floor(random() * 400 - 200), Math.floor(random() * 400 - 200)),
        () => edits.moveBy(made, TYPES, ids, 30, -10),
        () => edits.addNode(made, TYPES, TYPES.get(pick([...TYPES.keys()])), { after: pick(ids) }).ops,
        () => edits.connect(made, TYPES, pick(ids), pick(['', 'raised', 'error']), pick(ids)),
        () => (ids.length > 3 ? edits.removeNodes(made, TYPES, [pick(ids)], { heal: true }) : []),
      ];
      made.apply(pick(choices)());
      assert.equal(drawn(scene), drawn(new Scene(made, TYPES)));
    }
  });
}

test('a wire is hit on its way and not beside it', () => {
  const scene = new Scene(store(), TYPES);
  const way = scene.ways.get('readings -> plausible');
  assert.ok(way);
  assert.equal(scene.wireAt((way.x1 + way.x2) / 2, (way.y1 + way.y2) / 2 + 3, 8), 'readings -> plausible');
  assert.equal(scene.wireAt((way.x1 + way.x2) / 2, way.y1 + 40, 8), null);
});

test('arrows lead to the next node in that direction and wires to the next along them', () => {
  const made = store();
  const scene = new Scene(made, TYPES);
  assert.equal(nearest(scene, 'readings', 'right'), 'plausible');
  assert.equal(nearest(scene, 'show', 'left'), 'alarm');
  assert.equal(nearest(scene, 'show', 'right'), null);
  assert.equal(nearest(scene, null, 'down'), 'readings');
  assert.equal(alongWire(scene, 'alarm', true), 'show');
  assert.equal(alongWire(scene, 'alarm', false), 'plausible');
  assert.deepEqual(inOrder(made).map(({ id }) => id), ['readings', 'plausible', 'alarm', 'show']);
});
