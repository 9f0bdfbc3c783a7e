// Topics seen, on the start page: what devices publish appears here by itself.

import { ago, at, h, icon, iconButton, put } from './dom.js';

const EVERY = 3000;
const SHOWN = 12;

/** @param {any} api @param {boolean} embedded whether the broker is ours @param {(text: string) => void} say */
export function watchTopics(api, embedded, say) {
  let all = false;
  /** @type {any[]} */
  let topics = [];
  let drawn = '';
  const more = h('button', { type: 'button', class: 'link', on: { click: () => {
    all = true;
    draw();
  } } });
  const copy = (/** @type {string} */ topic) => navigator.clipboard?.writeText(topic).catch(() => say('The browser does not let this page copy.'));
  const row = (/** @type {any} */ { topic, last, at: when, flow }) =>
    h('div', { class: 'topic-row' }, icon('mqtt'), h('b', { class: 'mono' }, topic), h('span', { class: 'mono muted grow' }, last), flow ? h('a', { class: 'small', href: `/flows/${encodeURIComponent(flow)}` }, flow) : null, h('span', { class: 'small muted num when' }, ago(when)), iconButton('copy', `Copy ${topic}`, () => void copy(topic), { class: 'plain tiny' }));
  const draw = () => {
    const shown = [...topics].sort((a, b) => a.topic.localeCompare(b.topic)).slice(0, all ? 500 : SHOWN);
    const key = JSON.stringify(shown.map((each) => [each.topic, each.last, ago(each.at)]));
    if (key === drawn || at('topic-rows').contains(document.activeElement)) return;
    drawn = key;
    at('topics').hidden = !topics.length;
    at('topics-note').textContent = embedded ? 'Published to the broker of this box.' : 'Heard by the MQTT sources of flows that run; a broker of this box’s own would show every topic.';
    more.textContent = `Show all ${topics.length}`;
    put(at('topic-rows'), shown.map(row), topics.length > shown.length ? more : null);
  };
  const look = async () => {
    try {
      if (!document.hidden) ({ topics } = await api.get('/topics'));
      draw();
    } catch {
      // The list is a help; the next look may do.
    }
    setTimeout(look, EVERY);
  };
  void look();
}
