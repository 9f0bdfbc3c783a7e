// Every change can be undone and done again, byte for byte, in any order and after a reload.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as edits from '../../../web/static/model/edits.js';
import { History, fingerprint, sorted } from '../../../web/static/model/history.js';
import { tidy } from '../../../web/static/model/layout.js';
import { copyText, paste } from '../../../web/static/model/clipboard.js';
import { chance, coldRoom, store, types } from './rig.js';

const TYPES = types();

/** @param {any} made */
function state(made) {
  return JSON.stringify(sorted([made.flow(), made.layout()]));
}

/** One change of each kind, chosen by chance. @param {any} made @param {() => number} random */
function anyChange(made, random) {
  const ids = [...made.nodes.keys()];
  const pick = (/** @type {any[]} */ list) => list[Math.floor(random() * list.length)];
  const [a, b] = [pick(ids), pick(ids)];
  const type = TYPES.get(pick([...TYPES.keys()]));
  const wire = pick([...made.wires.values()]);
  const choices = [
    () => edits.addNode(made, TYPES, type, { after: a }).ops,
    () => edits.addNode(made, TYPES, type, { at: [random() * 900, random() * 900] }).ops,
    () => (wire && type.has_input ? edits.insertOnWire(made, TYPES, type, wire).ops : []),
    () => (a ? edits.removeNodes(made, TYPES, [a, b], {}) : []),
    () => (a ? edits.removeNodes(made, TYPES, [a], { heal: true }) : []),
    () => (a ? edits.connect(made, TYPES, a, pick(['', 'raised', 'error']), b) : []),
    () => (wire ? [{ op: 'unwire', id: wire.id }] : []),
    () => edits.moveBy(made, TYPES, [a, b].filter(Boolean), 30, -20),
    () => edits.group(made, [a, b].filter(Boolean)).ops,
    () => edits.ungroup(made, [a]),
    () => edits.setDisabled(made, [a, b], random() < 0.5),
    () => (a ? edits.retitle(made, a, pick(['Boiler', '', 'Zähler 3']), random() < 0.5).ops : []),
    () => (a ? [{ op: 'put', path: ['nodes', a, 'config', 'deep', 'er'], value: random() }] : []),
    () => (a ? [{ op: 'put', path: ['nodes', a, 'config', 'topic'] }] : []),
    () => [{ op: 'put', path: ['params', 'limit', 'default'], value: 8 }],
    () => [{ op: 'put', path: ['params'] }],
    () => [{ op: 'move', at: tidy(made, TYPES) }],
    () => paste(made, TYPES, copyText(made, [a, b].filter(Boolean))).ops,
  ];
  return pick(choices)();
}

for (let seed = 1; seed <= 60; seed++) {
  test(`sixty changes by chance are undone and done again (seed ${seed})`, () => {
    const made = store();
    const history = new History(made, () => 0);
    const random = chance(seed);
    const seen = [state(made)];
    for (let turn = 0; turn < 60; turn++) {
      history.seal();
      if (history.commit('change', anyChange(made, random))) seen.push(state(made));
    }
    assert.ok(history.steps.length > 20);
    for (let at = seen.length - 1; at > 0; at--) {
      assert.equal(state(made), seen[at]);
      history.undo();
    }
    assert.equal(state(made), seen[0]);
    assert.equal(history.undo(), null);
    for (let at = 1; at < seen.length; at++) {
      history.redo();
      assert.equal(state(made), seen[at]);
    }
    assert.equal(history.redo(), null);
    for (let turn = 0; turn < 20; turn++) {
      const target = Math.floor(random() * seen.length);
      history.go(target);
      assert.equal(state(made), seen[target]);
    }
  });
}

test('a drag of a hundred moves is one step, and one place in the journal', () => {
  const made = store();
  const history = new History(made, () => 0);
  for (let x = 0; x < 100; x++) history.commit('Move', edits.moveBy(made, TYPES, ['alarm'], 10, 0), 'drag');
  history.seal();
  history.commit('Move', edits.moveBy(made, TYPES, ['alarm'], 10, 0), 'drag');
  assert.equal(history.steps.length, 2);
  assert.deepEqual(history.steps[0].ops, [{ op: 'move', at: { alarm: [1520, 40] } }]);
  history.undo();
  history.undo();
  assert.deepEqual(made.at.get('alarm'), [520, 40]);
});

test('changes of one key far apart in time are two steps', () => {
  const made = store();
  let now = 0;
  const history = new History(made, () => now);
  history.commit('Type', [{ op: 'put', path: ['title'], value: 'A' }], 'title');
  now = 60_000;
  history.commit('Type', [{ op: 'put', path: ['title'], value: 'AB' }], 'title');
  assert.equal(history.steps.length, 2);
});

test('a new change after an undo takes the place of what was undone', () => {
  const made = store();
  const history = new History(made);
  history.commit('a', [{ op: 'put', path: ['title'], value: 'A' }]);
  history.undo();
  history.commit('b', [{ op: 'put', path: ['title'], value: 'B' }]);
  assert.deepEqual(history.steps.map((step) => step.label), ['b']);
});

test('the journal survives a reload of the same document', () => {
  const made = store();
  const history = new History(made);
  const before = state(made);
  history.commit('a', edits.removeNodes(made, TYPES, ['plausible'], { heal: true }));
  history.commit('b', [{ op: 'put', path: ['title'], value: 'B' }]);
  history.undo();
  const kept = JSON.parse(JSON.stringify(history.written()));
  const again = store(made.flow(), made.layout());
  const taken = new History(again);
  assert.equal(taken.takeUp(kept), true);
  taken.redo();
  assert.equal(again.head.title, 'B');
  taken.go(0);
  assert.equal(fingerprint(again), fingerprint(store()));
  assert.equal(JSON.parse(before)[0].title, again.head.title);
});

test('of the journal of another document nothing is taken up that meets what differs', () => {
  const history = new History(store());
  history.commit('a', [{ op: 'put', path: ['title'], value: 'B' }]);
  const kept = history.written();
  const other = new History(store(coldRoom()));
  assert.equal(other.takeUp(kept), false);
  assert.equal(other.takeUp({ ...kept, flow: undefined }), false);
  assert.equal(other.takeUp({ steps: 'x' }), false);
  assert.equal(other.takeUp(null), false);
  assert.equal(other.undo(), null);
});

test('a change of which a part cannot be done leaves nothing behind', () => {
  const made = store();
  const history = new History(made);
  const before = state(made);
  assert.throws(() => history.commit('bad', [
    { op: 'put', path: ['title'], value: 'X' },
    { op: 'put', path: ['nodes', 'nobody', 'title'], value: 'X' },
  ]));
  assert.equal(state(made), before);
  assert.equal(history.steps.length, 0);
});
