// What comes of an expression, a template or a path, shown below it on the last real message.
//
// The server evaluates, with the parts the engine itself uses; it is asked while someone types, and
// every two seconds while they are in the field, so that a new message is seen.

import { outputName } from '../model/types.js';
import { clock } from './jsontree.js';
import { h, icon, later, put } from './dom.js';

const AGAIN = 2000;

/** Outputs whose messages reach the node being edited; a source's own, where nothing does. @param {any} app @returns {string[]} */
function outputs(app) {
  const id = app.selection.only;
  if (!id) return [];
  const into = app.store.into(id).map((/** @type {Wire} */ wire) => `${wire.from}.${outputName(app.store, app.types, wire)}`);
  const own = app.types.get(app.store.nodes.get(id)?.type)?.has_input ? [] : (app.scene.boxes.get(id)?.outs ?? []).map((/** @type {string} */ output) => `${id}.${output}`);
  return [...into, ...own].slice(0, 20);
}

/** @param {any} app @param {Field} field @param {HTMLInputElement | HTMLTextAreaElement} input in which someone is now */
export function preview(app, field, input) {
  const wires = outputs(app);
  const place = input.closest('.row') ?? input.closest('.code-box') ?? input;
  const before = place.nextElementSibling;
  const out = before?.matches('output.preview') ? /** @type {HTMLOutputElement} */ (before) : h('output', { class: 'preview', hidden: true });
  if (out !== before) place.after(out);
  let asked = 0;
  let shown = '';
  const draw = (/** @type {any} */ found) => {
    const { problem } = found;
    input.dispatchEvent(new CustomEvent('diagnosed', { detail: problem }));
    const words = problem ? [problem.what, problem.mend].filter(Boolean).join(' ') : found.value;
    const from = found.wire ? `${found.wire}, ${clock(found.at).slice(0, 8)}` : wires.length ? `No message from ${wires.join(', ')} yet: the value is shown once one passes.` : 'Wire an input to see the value.';
    if (shown === words + from) return;
    shown = words + from;
    out.classList.toggle('is-wrong', Boolean(problem));
    put(out, problem ? [icon('warning'), h('span', {}, words)] : found.value === null ? h('span', { class: 'muted' }, from) : [h('code', {}, found.value === '' ? '(empty)' : found.value), h('span', { class: 'muted' }, `${found.kind} · ${from}`)]);
    out.hidden = false;
  };
  const ask = async () => {
    const number = ++asked;
    if (!input.value.trim() || !input.isConnected) {
      out.hidden = true;
      shown = '';
      input.dispatchEvent(new CustomEvent('diagnosed', { detail: null }));
      return;
    }
    const found = await app.api.post(app.api.flow(app.id, '/try'), { kind: field.widget, text: input.value, outputs: wires }).catch(() => null);
    if (found && number === asked) draw(found);
  };
  const soon = later(ask, 200);
  input.addEventListener('input', soon);
  const timer = setInterval(() => (input.isConnected ? ask() : clearInterval(timer)), AGAIN);
  input.addEventListener('blur', () => {
    clearInterval(timer);
    soon.stop();
    input.removeEventListener('input', soon);
    asked++;
    // A fault is told by the field itself from now on.
    if (out.classList.contains('is-wrong')) out.hidden = true;
  }, { once: true });
  void ask();
}
