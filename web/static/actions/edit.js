// Undo, redo, clipboard, deleting and selecting.

import * as edits from '../model/edits.js';
import { copyText, paste } from '../model/clipboard.js';
import { plural } from '../ui/dom.js';

const chosen = (/** @type {any} */ app) => app.selection.nodes.size > 0;
const anything = (/** @type {any} */ app) => app.selection.nodes.size + app.selection.wires.size > 0;
/** @param {any} app */
const nodesWord = (app) => (app.selection.nodes.size === 1 ? 'node' : plural(app.selection.nodes.size, 'node'));

/** Cut and copy work without the browser's leave too. */
let kept = '';

/** @param {string} text */
async function write(text) {
  kept = text;
  await navigator.clipboard?.writeText(text).catch(() => undefined);
}

async function read() {
  const text = await navigator.clipboard?.readText().catch(() => '');
  return text || kept;
}

/** @param {any} app @param {string} text @param {Point | null} [at] */
export function pasteText(app, text, at = null) {
  const { ops, ids } = paste(app.store, app.types, text, at);
  if (!ids.length) return app.say('There is nothing to paste: copy nodes or a flow file first.');
  app.commit(`Paste ${plural(ids.length, 'node')}`, ops);
  app.selection.set(ids);
  app.focusNode(ids[ids.length - 1]);
}

/** @param {any} app @param {'undo' | 'redo'} way */
function travel(app, way) {
  const step = app.history[way]();
  if (!step) return;
  const ids = (way === 'undo' ? step.back : step.ops).flatMap((/** @type {any} */ op) => (op.op === 'put' && op.path[0] === 'nodes' ? [String(op.path[1])] : op.op === 'move' ? Object.keys(op.at) : []));
  const there = [...new Set(ids)].filter((id) => app.store.nodes.has(id));
  if (there.length) {
    app.selection.set(there);
    const box = app.scene.boxes.get(there[0]);
    if (box) app.view.reveal(box);
  }
  app.speak(`${way === 'undo' ? 'Undone' : 'Done again'}: ${step.label}`);
}

/** @param {any} app @param {boolean} heal */
function remove(app, heal) {
  const { selection, store, types, scene } = app;
  const ids = [...selection.nodes];
  /** @type {Op[]} */
  const wires = [...selection.wires].map((id) => ({ op: 'unwire', id }));
  const [first] = ids;
  const next = first ? (store.into(first)[0]?.from ?? store.out(first)[0]?.to ?? null) : null;
  const label = ids.length ? `Delete ${nodesWord(app)}` : `Delete ${plural(wires.length, 'wire')}`;
  app.commit(label, [...wires.filter((op) => op.op === 'unwire'), ...edits.removeNodes(store, types, ids, { heal })]);
  const left = next && scene.boxes.has(next) ? next : null;
  if (left) app.selection.set([left]);
  else app.selection.clear();
  // The card that had the focus is gone: keys must go on working.
  if (left) app.focusNode(left);
  else app.view.element.focus({ preventScroll: true });
  app.speak(label);
}

/** @type {Action[]} */
export default [
  { id: 'undo', title: 'Undo', group: 'Edit', icon: 'undo', keys: ['Ctrl+Z'], when: (app) => app.history.done > 0, run: (app) => travel(app, 'undo') },
  { id: 'redo', title: 'Redo', group: 'Edit', icon: 'redo', keys: ['Ctrl+Y', 'Ctrl+Shift+Z'], when: (app) => app.history.done < app.history.steps.length, run: (app) => travel(app, 'redo') },
  { id: 'copy', title: 'Copy', group: 'Edit', icon: 'copy', keys: ['Ctrl+C'], reads: true, when: chosen, run: (app) => write(copyText(app.store, app.selection.nodes)) },
  {
    id: 'cut', title: 'Cut', group: 'Edit', keys: ['Ctrl+X'], when: chosen,
    run: async (app) => {
      await write(copyText(app.store, app.selection.nodes));
      remove(app, false);
    },
  },
  { id: 'paste', title: 'Paste', group: 'Edit', icon: 'paste', keys: ['Ctrl+V'], run: async (app, args) => pasteText(app, args?.text ?? (await read()), args?.at) },
  { id: 'duplicate', title: 'Duplicate', group: 'Edit', icon: 'copy', keys: ['Ctrl+D'], when: chosen, run: (app) => pasteText(app, copyText(app.store, app.selection.nodes)) },
  { id: 'delete', title: (app) => (app.selection.nodes.size ? `Delete ${nodesWord(app)}` : 'Delete wire'), group: 'Edit', icon: 'trash', keys: ['Delete', 'Backspace'], when: anything, run: (app) => remove(app, false) },
  { id: 'delete-heal', title: 'Delete and close the chain', group: 'Edit', keys: ['Ctrl+Delete', 'Ctrl+Backspace'], when: (app) => app.selection.only, run: (app) => remove(app, true) },
  { id: 'select-all', title: 'Select all', group: 'Edit', keys: ['Ctrl+A'], reads: true, run: (app) => app.selection.set(app.store.nodes.keys()) },
  {
    id: 'select-after', title: 'Select all that follows', group: 'Edit', reads: true, when: chosen,
    run: (app) => {
      const found = new Set(app.selection.nodes);
      for (const id of found) for (const wire of app.store.out(id)) found.add(wire.to);
      app.selection.set(found);
    },
  },
  { id: 'clear', title: 'Select nothing', group: 'Edit', keys: ['Escape'], reads: true, quiet: true, when: (app) => anything(app) || app.moveMode, run: (app) => {
    if (app.moveMode) return app.run('move-mode');
    app.selection.clear();
    app.view.element.focus({ preventScroll: true });
  } },
  { id: 'search', title: 'Search and replace…', group: 'Edit', icon: 'search', keys: ['Ctrl+F'], reads: true, run: async (app) => (await import('../ui/search.js')).openSearch(app) },
];
