// The card beside a wire under the pointer: the last value, since when, how fast, how full.

import { faultOf, outputName } from '../model/types.js';
import { rateText } from '../net/now.js';
import { at, h, put } from './dom.js';
import { clock } from './jsontree.js';
import { spark } from './spark.js';

const WAIT = 180;

/** @param {any} app */
export function wireCard(app) {
  const line = h('canvas', { 'aria-hidden': 'true' });
  const card = h('div', { class: 'wire-card', hidden: true });
  at('stage').append(card);
  let timer = 0;
  /** @type {string | null} */
  let shown = null;
  let place = { x: 0, y: 0 };

  const fill = () => {
    const wire = shown ? app.store.wires.get(shown) : null;
    if (!wire) return void (card.hidden = true);
    const output = outputName(app.store, app.types, wire);
    const key = `${wire.from}.${output}`;
    const value = app.now.values.get(key);
    const fault = faultOf(app.store, app.types, wire);
    const full = app.now.fill(wire, output);
    const queue = app.now.queue(wire, output);
    const rates = app.now.rates.get(key) ?? [];
    put(
      card,
      h('header', {}, h('span', {}, key), h('span', { class: 'num' }, rateText(app.now.rate(wire.from, output)))),
      fault ? h('p', { class: 'is-error' }, fault) : null,
      value ? h('p', { class: 'value' }, value.text) : h('p', { class: 'muted small' }, app.now.running ? 'No message yet' : 'Not running'),
      value ? h('p', { class: 'small muted num' }, [clock(value.at), value.key, value.topic].filter(Boolean).join(' · ')) : null,
      full > 0 || queue.dropped ? h('p', { class: queue.dropped ? 'small is-error' : full >= 0.8 ? 'small is-warn' : 'small muted' }, `Queue ${queue.depth ?? 0} of ${queue.capacity}${queue.dropped ? `, ${queue.dropped} dropped` : ''}`) : null,
      rates.length > 2 ? line : null,
      value ? h('p', { class: 'small muted keys' }, h('kbd', {}, 'Shift+P'), ' pins a number') : null,
    );
    card.hidden = false;
    const frame = at('stage').getBoundingClientRect();
    const x = Math.min(place.x - frame.left + 14, frame.width - 276);
    const y = Math.min(place.y - frame.top + 14, frame.height - card.offsetHeight - 8);
    card.style.transform = `translate(${Math.max(8, x)}px, ${Math.max(8, y)}px)`;
    if (rates.length > 2) spark(line, rates);
  };
  app.on('hover', (/** @type {{id: string | null, x: number, y: number}} */ { id, x, y }) => {
    if (id && x) place = { x, y };
    if (id === shown) return;
    clearTimeout(timer);
    shown = id;
    if (!id || !x) card.hidden = true;
    else timer = window.setTimeout(fill, WAIT);
  });
  app.on('now', () => !card.hidden && fill());
}
