// What the model's tests start from: a few node types and a flow of four nodes.

import { Store } from '../../../web/static/model/store.js';

const TYPES = [
  ['timer.tick', 'source', ['out'], false],
  ['mqtt.in', 'source', ['out'], false],
  ['threshold', 'transform', ['raised', 'cleared'], true],
  ['filter.range', 'transform', ['passed', 'refused'], true],
  ['compute', 'transform', ['out'], true],
  ['debug', 'sink', [], true],
  ['route', 'transform', [], true],
  ['catch', 'source', ['out'], false],
  ['comment', 'note', [], false],
];

/** @returns {Map<string, any>} */
export function types() {
  return new Map(
    TYPES.map(([name, kind, outputs, has_input]) => [
      name,
      {
        name,
        family: String(name).split('.')[0],
        kind,
        outputs,
        has_input,
        outputs_vary: name === 'route',
        optional: ['cleared', 'refused'],
        connections: {},
        summary: '',
        doc: '',
        config: null,
      },
    ]),
  );
}

export function coldRoom() {
  return {
    format: 1,
    title: 'Cold room',
    nodes: {
      readings: { type: 'mqtt.in', config: { topic: 'device/+/telemetry', qos: 1 } },
      plausible: { type: 'filter.range', config: { field: 'payload.temperature', min: -60, max: 60 } },
      alarm: { type: 'threshold', title: 'Too warm', config: { above: { $param: 'limit' } } },
      show: { type: 'debug' },
    },
    wires: ['alarm.raised -> show', 'plausible.passed -> alarm', 'readings -> plausible'],
  };
}

export const PLACES = { readings: [40, 40], plausible: [280, 40], alarm: [520, 40], show: [760, 40] };

/** @param {any} [flow] @param {any} [layout] */
export function store(flow = coldRoom(), layout = PLACES) {
  const made = new Store();
  made.load(flow, layout);
  return made;
}

/** Numbers that look random and are the same in every run. @param {number} seed */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
