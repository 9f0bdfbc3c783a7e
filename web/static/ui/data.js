// The Data tab: the newest messages before and behind the selection, and a message sent by hand.

import { outputName, titleOf } from '../model/types.js';
import { rateText } from '../net/now.js';
import { freshId, h, icon, put } from './dom.js';
import { clock, messageTree } from './jsontree.js';
import { spark } from './spark.js';

/** @param {any} app @param {HTMLElement} element */
export function show(app, element) {
  /** @type {(() => void)[]} */
  let stops = [];
  let key = '';
  const draw = () => {
    const { only, wire } = app.selection;
    const line = wire ? app.store.wires.get(wire) : null;
    const next = `${only}|${wire}|${app.now.running}`;
    if (next === key) return;
    key = next;
    stops.forEach((stop) => stop());
    stops = [];
    if (!only && !line) return put(element, h('p', { class: 'nothing' }, 'Choose a node or a wire to see its messages.'));
    if (!app.now.running) return put(element, h('p', { class: 'nothing' }, 'The flow is not running: deploy it to see its messages.'));
    if (line) return put(element, pane(app, line.from, outputName(app.store, app.types, line), 'On the wire', stops));
    const id = /** @type {string} */ (only);
    const into = app.store.into(id).map((/** @type {Wire} */ each) => ({ from: each.from, output: outputName(app.store, app.types, each) }));
    const outs = app.scene.boxes.get(id)?.outs ?? [];
    put(
      element,
      into.slice(0, 4).map((/** @type {any} */ each) => pane(app, each.from, each.output, `In, from ${titleOf(app.store.nodes.get(each.from), each.from)}`, stops)),
      outs.map((/** @type {string} */ output) => pane(app, id, output, outs.length > 1 ? `Out, ${output}` : 'Out', stops)),
      into.length || outs.length ? null : h('p', { class: 'nothing' }, 'No wires, no messages.'),
      app.can('deploy') && inject(app, id),
    );
  };
  draw();
  const listening = [app.on('selection', draw), app.on('state', draw), app.on('running', draw)];
  return () => [...stops, ...listening].forEach((stop) => stop());
}

/** @param {any} app @param {string} id @param {string} output @param {string} title @param {(() => void)[]} stops */
function pane(app, id, output, title, stops) {
  const wire = `${id}.${output}`;
  const meta = h('span', { class: 'small muted num' });
  const body = h('div', { class: 'small muted' }, 'Waiting for a message…');
  const line = h('canvas', { class: 'spark', 'aria-hidden': 'true' });
  const rate = h('span', { class: 'small muted num' });
  /** @type {any} */
  let newest = null;
  const replay = h('button', { type: 'button', class: 'plain tiny', hidden: true, title: 'Send this message again', 'aria-label': 'Send this message again', on: { click: () => newest && app.api.post(app.api.flow(app.id, `/wires/${encodeURIComponent(wire)}/replay`), { n: newest.n }).then(() => app.say('Sent again.'), (/** @type {any} */ error) => app.problem(error)) } }, icon('refresh'));
  const copy = h('button', { type: 'button', class: 'plain tiny', hidden: true, title: 'Copy this message', 'aria-label': 'Copy this message', on: { click: () => navigator.clipboard?.writeText(JSON.stringify(newest.message, null, 2)).then(() => app.say('Copied.')) } }, icon('copy'));
  const open = new Set();
  const pins = h('div', { class: 'pin-rows' });
  const pin = (/** @type {string} */ path) => void import('./pins.js').then(({ pinsOf }) => pinsOf(app).toggle(wire, path));
  void import('./pins.js').then(({ showRows }) => stops.push(showRows(app, wire, pins)));
  const drawMessage = (/** @type {any} */ sample) => {
    newest = sample;
    replay.hidden = !app.can('deploy');
    copy.hidden = false;
    meta.textContent = [clock(sample.at), sample.message?.key, sample.message?.topic].filter(Boolean).join(' · ');
    for (const each of body.querySelectorAll('details')) {
      const path = each.querySelector('summary')?.textContent ?? '';
      if (each.open) open.add(path);
      else open.delete(path);
    }
    put(body, messageTree(sample.message, true, pin));
    body.className = '';
    for (const each of body.querySelectorAll('details')) if (open.has(each.querySelector('summary')?.textContent ?? '')) each.open = true;
  };
  stops.push(app.live.sub(`flow/${app.id}/tap/${wire}`, (/** @type {any} */ d) => {
    const last = d.samples?.at(-1);
    // A person reads four messages a second at most; the tree keeps what they have unfolded.
    if (last && !body.matches(':hover') && !body.contains(document.activeElement)) drawMessage(last);
  }));
  const numbers = () => {
    const values = app.now.rates.get(wire) ?? [];
    rate.textContent = rateText(app.now.rate(id, output));
    line.hidden = values.length < 2;
    if (!line.hidden) spark(line, values);
  };
  stops.push(app.on('now', numbers));
  queueMicrotask(numbers);
  return h('section', { class: 'pane' }, h('header', {}, h('h3', {}, title), h('span', { class: 'spacer' }), rate, copy, replay), line, pins, meta, body);
}

/** @param {any} app @param {string} id */
function inject(app, id) {
  const type = app.types.get(app.store.nodes.get(id)?.type);
  const source = !type?.has_input;
  const area = freshId('inject');
  const text = h('textarea', { id: area, class: 'mono', rows: 3, placeholder: source ? 'nothing: as if its time had come' : '{"temperature": 21.5}', spellcheck: false });
  const topic = h('input', { placeholder: 'topic (may stay empty)', 'aria-label': 'Topic', spellcheck: false, class: 'mono' });
  const send = async () => {
    /** @type {any} */
    const body = { topic: topic.value };
    if (text.value.trim()) {
      try {
        body.payload = JSON.parse(text.value);
      } catch {
        body.payload = text.value;
      }
    }
    await app.api.post(app.api.flow(app.id, `/nodes/${encodeURIComponent(id)}/inject`), body).then(() => app.speak('Sent.'), (/** @type {any} */ error) => app.problem(error));
  };
  return h(
    'details',
    { class: 'fold' },
    h('summary', {}, source ? 'Send a message out of this node' : 'Send a message into this node'),
    h('div', { class: 'field' }, h('label', { class: 'label', for: area }, 'Payload (JSON or text)'), text, topic, h('div', { class: 'item' }, h('button', { type: 'button', on: { click: send } }, icon('play'), 'Send'))),
  );
}
