// The Problems panel: the findings of `flowengine check`, each with its place and its remedy.

import { titleOf } from '../model/types.js';
import { h, icon, put } from './dom.js';

/** @param {any} app @param {HTMLElement} element */
export function show(app, element) {
  const draw = () => {
    const { findings } = app.check;
    const refused = app.state.refused ?? [];
    put(
      element,
      [...refused, ...findings].map((finding) => row(app, finding)),
      findings.length + refused.length ? null : h('p', { class: 'nothing' }, 'No problems. The same checks run in `flowengine check` and before every deploy.'),
    );
  };
  draw();
  const stops = [app.on('check', draw), app.on('state', draw)];
  return () => stops.forEach((stop) => stop());
}

/** @param {any} app @param {Finding} finding */
function row(app, finding) {
  const { node, wire, field, connection } = finding.where;
  const grave = finding.severity === 'error';
  const spec = node ? app.store.nodes.get(node) : null;
  const place = node ? `${spec ? titleOf(spec, node) : node}${field ? ` · ${field}` : ''}` : (wire ?? (connection ? `${connection}${field ? ` · ${field}` : ''}` : (field ?? 'flow')));
  return h(
    'button',
    { type: 'button', class: 'line-row finding', on: { click: () => goTo(app, finding) } },
    h('span', { class: grave ? 'is-error' : 'is-warn' }, icon(grave ? 'cross' : 'warning'), h('span', { class: 'unseen' }, grave ? 'Error' : 'Warning')),
    h('div', {}, h('p', {}, capital(finding.what)), finding.mend ? h('p', { class: 'small' }, finding.mend) : null),
    h('span', { class: 'small muted mono' }, place),
  );
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** @param {any} app @param {Finding} finding */
async function goTo(app, { where }) {
  if (where.node && app.store.nodes.has(where.node)) {
    app.selection.set([where.node]);
    app.focusNode(where.node);
    app.tell('panel', { right: 'settings' });
    const name = /^config\.([A-Za-z_]\w*)/.exec(where.field ?? '')?.[1];
    if (name) toField(where.node, name);
  } else if (where.wire) {
    const wire = [...app.store.wires.values()].find((each) => each.id === where.wire);
    if (wire) app.selection.set([], [wire.id]);
  } else if (where.connection) {
    (await import('./connections.js')).editConnection(app, where.connection);
  } else app.run('settings');
}

/** The form comes a moment later, on a slow line some moments. @param {string} node @param {string} name @param {number} [tries] */
function toField(node, name, tries = 40) {
  const field = /** @type {HTMLElement | null} */ (document.querySelector(`#inspector-body [data-node="${CSS.escape(node)}"] [data-field="${name}"] .slot :is(input, select, textarea, button)`));
  if (field) field.focus();
  else if (tries) setTimeout(() => toField(node, name, tries - 1), 50);
}
