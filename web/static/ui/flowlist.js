// The Flows tab: all flows with how they fare, one click away.

import { h, icon, plural, put } from './dom.js';

/** A flow's state in a word. @param {FlowState} state @returns {[string, string]} level and word */
export function fare(state) {
  if (state.refused?.length) return ['error', 'refused'];
  if (state.running) return state.draft.changed ? ['warn', 'draft differs'] : ['ok', 'running'];
  return state.deployed ? ['warn', 'stopped'] : ['muted', 'never deployed'];
}

/** @param {any} app @param {HTMLElement} element */
export function show(app, element) {
  /** @type {Map<string, FlowState>} */
  const flows = new Map();
  const draw = () => {
    const all = [...flows.values()].sort((a, b) => (a.title || a.id).localeCompare(b.title || b.id));
    put(
      element,
      all.map((state) => {
        const [level, word] = fare(state);
        return h(
          'a',
          { class: 'kind flow-link', href: `/flows/${encodeURIComponent(state.id)}`, 'aria-current': state.id === app.id ? 'page' : undefined },
          h('span', { class: 'tile cat-flow' }, icon('cat-flow')),
          h('b', {}, state.title || state.id),
          h('small', { class: `is-${level}` }, `${word} · ${plural(state.nodes, 'node')}`),
        );
      }),
      h('div', { class: 'item' }, h('button', { type: 'button', class: 'plain', on: { click: () => app.run('new-flow') } }, icon('plus'), 'New flow'), h('a', { href: '/' }, 'All flows')),
    );
  };
  put(element, h('p', { class: 'nothing' }, 'Loading…'));
  app.api.get('/flows').then((/** @type {{flows: FlowState[]}} */ answer) => {
    for (const state of answer.flows) flows.set(state.id, state);
    draw();
  }, (/** @type {any} */ error) => app.problem(error));
  return app.live.sub('status', (/** @type {any} */ d) => {
    for (const state of d.flows ?? []) flows.set(state.id, state);
    for (const id of d.gone ?? []) flows.delete(id);
    if (flows.size) draw();
  });
}
