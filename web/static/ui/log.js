// The Log panel: the engine's own sentences, with their level as icon and word.

import { h, icon, put } from './dom.js';
import { clock } from './jsontree.js';

const KEPT = 500;
/** @type {Record<string, [string, string]>} */
const LEVELS = { error: ['cross', 'is-error'], warning: ['warning', 'is-warn'], info: ['info', 'is-muted'] };

/** @param {any} app @param {HTMLElement} element @param {HTMLElement} tools */
export function show(app, element, tools) {
  let mine = true;
  const list = h('div', { role: 'log', 'aria-label': 'Log', 'aria-live': 'off' });
  put(element, list);
  const box = h('input', { type: 'checkbox', id: 'log-mine', checked: true, on: { change: () => {
    mine = box.checked;
    for (const each of list.children) /** @type {HTMLElement} */ (each).hidden = hides(/** @type {HTMLElement} */ (each));
  } } });
  put(tools, h('label', { class: 'small', for: 'log-mine' }, 'This flow alone'), box);
  const hides = (/** @type {HTMLElement} */ each) => mine && Boolean(each.dataset.flow) && each.dataset.flow !== app.id;
  const row = (/** @type {any} */ line) => {
    const [picture, level] = LEVELS[line.level] ?? LEVELS.info;
    const facts = Object.entries(line.facts ?? {}).map(([key, value]) => `${key}=${typeof value === 'object' ? JSON.stringify(value) : value}`).join(' ');
    const made = h(
      'div',
      { class: 'line-row log-row', data: { flow: line.flow ?? '' } },
      h('time', {}, clock(line.time)),
      h('span', { class: level }, icon(picture), h('span', { class: 'unseen' }, line.level)),
      h('span', { class: 'who mono muted' }, [line.flow, line.node].filter(Boolean).join(' / ')),
      h('span', {}, line.what, line.mend ? h('span', { class: 'muted' }, ` ${line.mend}`) : null, facts ? h('span', { class: 'mono muted' }, `  ${facts}`) : null),
    );
    made.hidden = hides(made);
    return made;
  };
  return app.live.sub('log', (/** @type {any} */ d) => {
    const body = element.parentElement;
    const follows = !body || body.scrollTop + body.clientHeight > body.scrollHeight - 40;
    list.append(...(d.lines ?? []).map(row));
    while (list.childElementCount > KEPT) list.firstElementChild?.remove();
    if (follows && body) body.scrollTop = body.scrollHeight;
  });
}
