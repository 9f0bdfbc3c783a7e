// What one person can undo survives what another person changes, wherever the two do not meet.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as edits from '../../../web/static/model/edits.js';
import { History, sorted } from '../../../web/static/model/history.js';
import { changedPaths } from '../../../web/static/model/rebase.js';
import { PLACES, chance, coldRoom, store, types } from './rig.js';

const TYPES = types();
const above = (/** @type {any} */ value) => [{ op: 'put', path: ['nodes', 'alarm', 'config', 'above'], value }];
const below = (/** @type {any} */ value) => [{ op: 'put', path: ['nodes', 'alarm', 'config', 'below'], value }];
const title = (/** @type {any} */ value) => [{ op: 'put', path: ['title'], value }];

/** Another person changes the document that `made` holds. @param {any} made @param {History} history @param {(other: any) => void} change */
function elsewhere(made, history, change) {
  const other = store(made.flow(), made.layout());
  change(other);
  const before = made.flow();
  made.load(other.flow(), other.layout());
  history.rebase(before);
}

/** @param {any} made */
const labels = (made) => made.steps.map((/** @type {any} */ step) => step.label);

test('a step is undone beside another property of the same node', () => {
  const made = store();
  const history = new History(made);
  history.commit('limit', above(9));
  elsewhere(made, history, (other) => other.apply(below(2)));
  history.undo();
  assert.deepEqual(made.nodes.get('alarm').config, { above: { $param: 'limit' }, below: 2 });
  history.redo();
  assert.deepEqual(made.nodes.get('alarm').config, { above: 9, below: 2 });
});

test('a step that meets what was changed goes, the others stay', () => {
  const made = store();
  const history = new History(made);
  history.commit('title', title('A'));
  history.seal();
  history.commit('limit', above(9));
  elsewhere(made, history, (other) => other.apply(above(12)));
  assert.deepEqual(labels(history), ['title']);
  history.undo();
  assert.equal(made.head.title, 'Cold room');
  assert.equal(made.nodes.get('alarm').config.above, 12);
});

test('a step below one that went goes too where the two meet', () => {
  const made = store();
  const history = new History(made);
  history.commit('one', below(1));
  history.seal();
  history.commit('both', [...below(2), ...above(9)]);
  history.seal();
  history.commit('title', title('A'));
  elsewhere(made, history, (other) => other.apply(above(12)));
  assert.deepEqual(labels(history), ['title']);
});

test('what was undone can be done again, unless it meets', () => {
  const made = store();
  const history = new History(made);
  for (const [label, ops] of /** @type {[string, any][]} */ ([['title', title('A')], ['limit', above(9)]])) {
    history.seal();
    history.commit(label, ops);
  }
  history.go(0);
  elsewhere(made, history, (other) => other.apply(above(12)));
  assert.deepEqual([labels(history), history.done], [['title'], 0]);
  history.redo();
  assert.equal(made.head.title, 'A');
});

test('a removed node comes back unless what its wires led to is gone', () => {
  const removed = () => {
    const made = store();
    const history = new History(made);
    history.commit('remove', edits.removeNodes(made, TYPES, ['alarm'], {}));
    return { made, history };
  };
  const kept = removed();
  elsewhere(kept.made, kept.history, (other) => other.apply(title('B')));
  kept.history.undo();
  assert.deepEqual([...kept.made.wires.keys()].sort(), coldRoom().wires.slice().sort());

  const lost = removed();
  elsewhere(lost.made, lost.history, (other) => other.apply(edits.removeNodes(other, TYPES, ['show'], {})));
  assert.deepEqual(labels(lost.history), []);
});

test('a node is named as before, and takes along a wire that another person drew to it', () => {
  const made = store();
  const history = new History(made);
  history.commit('rename', [{ op: 'rename', from: 'alarm', to: 'siren' }]);
  elsewhere(made, history, (other) => other.apply(edits.connect(other, TYPES, 'readings', '', 'siren')));
  history.undo();
  assert.ok(made.nodes.has('alarm'));
  assert.ok(made.wires.has('readings -> alarm'));
});

test('moves stay for the nodes that are there', () => {
  const made = store();
  const history = new History(made);
  history.commit('Move', edits.moveBy(made, TYPES, ['alarm', 'show'], 10, 0));
  elsewhere(made, history, (other) => other.apply(edits.removeNodes(other, TYPES, ['show'], {})));
  history.undo();
  assert.deepEqual(made.at.get('alarm'), PLACES.alarm);
  assert.equal(made.at.has('show'), false);
});

test('a document that is the same but for the order of its keys loses nothing', () => {
  const made = store();
  const history = new History(made);
  history.commit('limit', above({ b: [1, { y: 2, x: 1 }], a: 1 }));
  const before = made.flow();
  made.load(sorted(before), made.layout());
  history.rebase(before);
  assert.deepEqual(labels(history), ['limit']);
});

test('the journal is taken up after a reload though another person changed the flow meanwhile', () => {
  const made = store();
  const history = new History(made);
  history.commit('title', title('A'));
  history.seal();
  history.commit('limit', above(9));
  const written = JSON.parse(JSON.stringify(history.written()));
  made.apply(above(12));
  const again = new History(store(made.flow(), made.layout()));
  assert.equal(again.takeUp(written), true);
  assert.deepEqual(labels(again), ['title']);
});

for (let seed = 1; seed <= 200; seed++) {
  test(`undoing all that is left takes nothing of theirs away (seed ${seed})`, () => {
    const random = chance(seed);
    const pick = (/** @type {any[]} */ list) => list[Math.floor(random() * list.length)];
    // A node that is renamed takes its wires along, theirs too: only their names differ then.
    /** @param {any} on @param {boolean} [theirs] */
    const anyChange = (on, theirs = false) => {
      const ids = [...on.nodes.keys()];
      const [a, b] = [pick(ids), pick(ids)];
      return pick([
        () => (a ? [{ op: 'put', path: ['nodes', a, 'config', pick(['x', 'y'])], value: random() }] : []),
        () => (a ? edits.removeNodes(on, TYPES, [a], { heal: random() < 0.5 }) : []),
        () => edits.addNode(on, TYPES, TYPES.get('compute'), { after: a }).ops,
        () => (a ? edits.connect(on, TYPES, a, '', b) : []),
        () => title(random()),
        () => (a ? edits.moveBy(on, TYPES, [a], 10, 10) : []),
        () => (theirs && a && !on.nodes.has(`${a}x`) ? [{ op: 'rename', from: a, to: `${a}x` }] : []),
      ])();
    };
    const made = store();
    const history = new History(made, () => 0);
    for (let turn = 0; turn < 8; turn++) {
      history.seal();
      history.commit('mine', anyChange(made));
    }
    history.go(Math.floor(random() * (history.steps.length + 1)));
    const start = made.flow();
    elsewhere(made, history, (other) => {
      for (let turn = 0; turn < 3; turn++) other.apply(anyChange(other, true));
    });
    const theirs = changedPaths(start, made.flow());
    const values = () => theirs.map((path) => JSON.stringify(sorted(valueAt(made, path))));
    const now = values();
    history.go(history.steps.length);
    assert.deepEqual(values(), now);
    history.go(0);
    assert.deepEqual(values(), now);
  });
}

/** @param {any} made @param {any[]} path */
function valueAt(made, path) {
  const whole = { ...made.flow(), wires: Object.fromEntries(made.wires) };
  return path.reduce((place, step) => (place === undefined ? undefined : place?.[step]), /** @type {any} */ (whole)) ?? null;
}
