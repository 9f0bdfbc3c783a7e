// The command palette: every action that can be done now, and every node and flow to go to.

import { all, keyOf, possible, titleOfAction } from '../actions/index.js';
import { find, score } from '../model/search.js';
import { titleOf } from '../model/types.js';
import { h, icon, iconOf } from './dom.js';
import { pick } from './pick.js';

/** @param {any} app */
export function openPalette(app) {
  const actions = all().filter((action) => !action.quiet && possible(action, app));
  return pick({
    label: 'Search or run a command',
    placeholder: 'Search nodes, or run a command',
    foot: ['↑↓ choose', 'Enter run', 'Esc close'],
    parts: (query) => [
      { head: query ? 'Commands' : undefined, items: commands(app, actions, query) },
      { head: 'Nodes', items: query ? nodes(app, query) : [] },
      { head: 'In settings', items: query.length > 1 ? values(app, query) : [] },
    ],
  });
}

/** @param {any} app @param {Action[]} actions @param {string} query */
function commands(app, actions, query) {
  return actions
    .map((action) => ({ action, title: titleOfAction(action, app), points: score(query, `${titleOfAction(action, app)} ${action.group}`) }))
    .filter((each) => each.points > 0)
    .sort((a, b) => b.points - a.points)
    .slice(0, query ? 8 : 60)
    .map(({ action, title }) => ({ name: title, note: action.group, side: keyOf(action), picture: icon(action.icon ?? 'right'), run: () => app.run(action.id) }));
}

/** @param {any} app @param {string} id */
export function goToNode(app, id) {
  app.selection.set([id]);
  app.focusNode(id);
}

/** @param {any} app @param {string} query */
function nodes(app, query) {
  return [...app.store.nodes]
    .map(([id, spec]) => ({ id, spec, points: Math.max(score(query, titleOf(spec, id)), score(query, id), score(query, spec.type) * 0.8) }))
    .filter((each) => each.points > 0)
    .sort((a, b) => b.points - a.points)
    .slice(0, 12)
    .map(({ id, spec }) => {
      const type = app.types.get(spec.type);
      return { name: titleOf(spec, id), note: type?.title ?? spec.type, side: id, picture: h('span', { class: `cat-${type?.category ?? 'debug'} tinted` }, icon(iconOf(type))), run: () => goToNode(app, id) };
    });
}

/** @param {any} app @param {string} query */
function values(app, query) {
  return find(app.store, query)
    .filter((hit) => hit.where.startsWith('config') || hit.where.startsWith('doc'))
    .slice(0, 8)
    .map((hit) => ({ name: hit.text.slice(0, 80), note: `${titleOf(app.store.nodes.get(hit.id), hit.id)} · ${hit.where.replace(/^config\./, '')}`, picture: icon('search'), run: () => goToNode(app, hit.id) }));
}
