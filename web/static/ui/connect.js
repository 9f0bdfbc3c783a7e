// Connecting without dragging: choose the port's partner from the nodes that fit.

import { connect } from '../model/edits.js';
import { freeOutput, refusal, targetsFor, titleOf } from '../model/types.js';
import { tile } from './dom.js';
import { score } from '../model/search.js';
import { pick } from './pick.js';

/** @param {any} app @param {string} id @param {{output?: string, side?: 'in' | 'out'}} how */
export function openConnect(app, id, how) {
  const { store, types, scene } = app;
  const title = titleOf(store.nodes.get(id), id);
  const pairs = how.side === 'in' ? sources(app, id) : targets(app, id, how.output);
  const outs = scene.boxes.get(id)?.outs ?? [];
  const label = how.side === 'in' ? `Connect into ${title} from` : `Connect ${title}${how.output && outs.length > 1 ? `, ${how.output},` : ''} to`;
  return pick({
    label, placeholder: label, none: outs.length || how.side === 'in' ? 'No node fits here. Press / to add one.' : `${title} sends nothing on.`,
    parts: (query) => [
      {
        items: pairs
          .map((pair) => ({ pair, points: score(query, `${titleOf(store.nodes.get(pair.other), pair.other)} ${pair.output}`) }))
          .filter((each) => each.points > 0)
          .sort((a, b) => (query ? b.points - a.points : 0))
          .map(({ pair: { from, output, to, other } }) => {
            const spec = store.nodes.get(other);
            const several = (scene.boxes.get(from)?.outs.length ?? 0) > 1 || output === 'error';
            return {
              name: titleOf(spec, other), note: several ? `by ${output}` : types.get(spec.type)?.title, side: other, picture: tile(types.get(spec.type)),
              run: () => {
                app.commit('Connect', connect(store, types, from, output, to));
                app.selection.set([to]);
                app.focusNode(to);
                app.speak(`${titleOf(store.nodes.get(from), from)} sends to ${titleOf(store.nodes.get(to), to)}`);
              },
            };
          }),
      },
    ],
  });
}

/** @typedef {{from: string, output: string, to: string, other: string}} Pair */

/** @param {any} app @param {string} id @param {string} [output] @returns {Pair[]} */
function targets(app, id, output) {
  const { store, types, scene } = app;
  const box = scene.boxes.get(id);
  const free = freeOutput(store, types, id);
  const all = [...(box?.outs ?? []), ...(box?.error ? ['error'] : [])];
  const outputs = output !== undefined ? [output] : all.sort((a, b) => Number(b === free) - Number(a === free));
  return outputs.flatMap((name) => targetsFor(store, types, id, name).map((to) => ({ from: id, output: name, to, other: to })));
}

/** @param {any} app @param {string} id @returns {Pair[]} */
function sources(app, id) {
  const { store, types, scene } = app;
  return [...store.nodes.keys()].flatMap((from) =>
    (scene.boxes.get(from)?.outs ?? [])
      .filter((/** @type {string} */ output) => refusal(store, types, from, output, id) === '')
      .map((/** @type {string} */ output) => ({ from, output, to: id, other: from })),
  );
}
