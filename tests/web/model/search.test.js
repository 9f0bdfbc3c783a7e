// Search finds every text of a node; replacing shows first what it would change and never an id.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { brief } from '../../../web/static/model/brief.js';
import { copyText, paste, readCopied } from '../../../web/static/model/clipboard.js';
import { freeId, slug } from '../../../web/static/model/ids.js';
import { find, replaceOps, replacements, score } from '../../../web/static/model/search.js';
import { coldRoom, store, types } from './rig.js';

const TYPES = types();

test('ids, titles, types and values are found with their place', () => {
  const made = store();
  assert.deepEqual(find(made, 'WARM').map((hit) => [hit.id, hit.where]), [['alarm', 'title']]);
  assert.deepEqual(find(made, '60').map((hit) => hit.where), ['config.min', 'config.max']);
  assert.deepEqual(find(made, 'debug').map((hit) => hit.where), ['type']);
  assert.deepEqual(find(made, 'limit').map((hit) => hit.where), ['config.above.$param']);
  assert.deepEqual(find(made, 'warm', { exact: true }).length, 1);
  assert.deepEqual(find(made, 'WARM', { exact: true }), []);
});

test('replacing is previewed, keeps numbers numbers and touches no id or type', () => {
  const made = store();
  const changes = replacements(made, '60', '70');
  assert.deepEqual(changes.map((each) => [each.before, each.after]), [['-60', -70], ['60', 70]]);
  made.apply(replaceOps(changes));
  assert.equal(made.nodes.get('plausible')?.config?.min, -70);
  assert.deepEqual(replacements(made, 'alarm', 'x'), []);
  assert.deepEqual(replacements(made, '+', '$&')[0].after, 'device/$&/telemetry');
});

const RANKED = [
  ['mq in', 'mqtt.in', 'sensor.simulated'],
  ['thr', 'threshold', 'throttle through'],
  ['deb', 'debug', 'filter.deadband'],
];
for (const [typed, better, worse] of RANKED) {
  test(`"${typed}" means ${better} more than ${worse}`, () => {
    assert.ok(score(typed, better) >= score(typed, worse));
    assert.ok(score(typed, better) > 0);
    assert.equal(score('xyzzy', better), 0);
  });
}

test('a copy has fresh ids, the wires among it, and stands beside', () => {
  const made = store();
  const { ops, ids } = paste(made, TYPES, copyText(made, ['plausible', 'alarm']));
  made.apply(ops);
  assert.deepEqual(ids.sort(), ['alarm-2', 'plausible-2']);
  assert.ok(made.wires.has('plausible-2.passed -> alarm-2'));
  assert.equal(made.into('plausible-2').length, 0);
  assert.notDeepEqual(made.at.get('alarm-2'), made.at.get('alarm'));
});

test('what is no flow is not pasted', () => {
  for (const text of ['', 'hello', '[1]', '{}', '{"nodes": 3}', '{"nodes": {"a": {}}}']) {
    assert.equal(readCopied(text), null);
    assert.deepEqual(paste(store(), TYPES, text), { ops: [], ids: [] });
  }
  assert.ok(readCopied(JSON.stringify(coldRoom())));
});

const SLUGS = [
  ['Room readings', 'room-readings'],
  ['Zähler 3 (Süd)', 'zahler-3-sud'],
  ['3 phases', 'phases'],
  ['温度', 'node'],
  ['Straße', 'strasse'],
];
for (const [title, id] of SLUGS) test(`${title} is called ${id}`, () => assert.equal(slug(title), id));

test('a free id counts on', () => {
  assert.equal(freeId('a', new Set(['a', 'a-2'])), 'a-3');
  assert.equal(freeId('a-2', new Set(['a-2'])), 'a-3');
});

const BRIEFS = [
  [{ above: { $param: 'limit' }, field: 'payload.temperature' }, 'temperature > limit'],
  [{ min: -60, max: 60 }, 'value -60 … 60'],
  [{ topic: ['a', 'b'] }, 'a, b'],
  [{ rules: [{ to: 'hot', when: 'payload > 8' }] }, 'payload > 8'],
  [{ set: { 'payload.a': '1 + 1' } }, 'a = 1 + 1'],
  [{ fields: ['payload.t'], functions: ['mean', 'max'], every: '10s' }, 'mean, max t / 10s'],
  [{ text: ['one', 'two'] }, 'one'],
  [{}, ''],
];
for (const [config, text] of BRIEFS) {
  test(`the second line says "${text}"`, () => assert.equal(brief({ type: 'x', config: /** @type {any} */ (config) }), text));
}
