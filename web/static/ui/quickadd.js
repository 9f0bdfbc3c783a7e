// Quick-add: type a few letters, Enter, and the new node stands wired behind the selection.

import { score } from '../model/search.js';
import { titleOf } from '../model/types.js';
import { tile } from './dom.js';
import { pick } from './pick.js';
import { suggestions, used } from './suggest.js';

/** @param {any} app @param {{after?: string, output?: string, at?: Point, wire?: string}} how */
export function openQuickAdd(app, how) {
  const after = how.after ?? (how.at || how.wire ? null : (app.selection.only ?? app.selection.focus));
  const sends = after !== null && (app.scene.boxes.get(after)?.outs.length ?? 0) > 0;
  const wire = how.wire ?? (how.at ? null : app.selection.wire);
  const first = suggestions(app, wire ? (app.store.wires.get(wire)?.from ?? null) : after);
  const all = /** @type {NodeType[]} */ ([...app.types.values()]).filter((type) => type.kind !== 'connection' && (!wire || type.kind === 'transform'));
  const spec = after ? app.store.nodes.get(after) : null;
  const place = wire ? `on the wire ${wire}` : spec && sends ? `after ${titleOf(spec, /** @type {string} */ (after))}` : '';
  const choice = (/** @type {NodeType} */ type) => {
    const off = (type.powers ?? []).length > 0 && !app.can('powers');
    return {
      name: type.title ?? type.name, note: type.summary, side: off ? 'not allowed' : type.name, picture: tile(type), off,
      run: () => {
        used(type.name);
        app.run('add-node', { type: type.name, after: type.has_input ? after : null, output: how.output, at: how.at ?? (after || wire ? undefined : app.view.middle()), wire });
      },
    };
  };
  return pick({
    label: `Add a node ${place}`.trim(),
    placeholder: `Add a node ${place}`.trim(),
    none: 'No node has this name.',
    foot: spec && sends && !wire ? ['Enter adds it and wires it'] : ['Enter adds it'],
    parts: (query) => {
      if (!query) {
        const likely = first.filter((type) => all.includes(type)).slice(0, 6);
        return [
          { head: spec || wire ? 'Suggested' : 'Begin with', items: likely.map(choice) },
          { head: 'All', items: all.filter((type) => !likely.includes(type)).map(choice) },
        ];
      }
      const found = all
        .map((type) => ({ type, points: points(query, type, first.indexOf(type)) }))
        .filter((each) => each.points > 0)
        .sort((a, b) => b.points - a.points);
      return [{ items: found.map(({ type }) => choice(type)) }];
    },
  });
}

/** @param {string} query @param {NodeType} type @param {number} rank among the suggestions, -1 for none */
function points(query, type, rank) {
  const name = Math.max(score(query, type.name), score(query, type.name.split('.').at(-1) ?? ''), score(query, type.title ?? ''));
  const best = Math.max(name, score(query, type.summary) * 0.4);
  return best && best + (rank < 0 ? 0 : Math.max(0, 10 - rank) * 0.5);
}
