// The deploy popover: the plan before anything happens; Ctrl+Enter once more carries it out.

import { titleOf } from '../model/types.js';
import { at, freshId, h, icon, plural, put } from './dom.js';

let isOpen = false;
/** Asked for once more before the plan was there: carry it out as soon as it is. */
let hurried = false;

/** @param {any} app */
export async function openDeploy(app) {
  if (isOpen) {
    hurried = true;
    return;
  }
  isOpen = true;
  hurried = false;
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const id = freshId('deploy');
  const body = h('div', {}, h('p', { class: 'muted' }, 'Making the plan…'));
  const note = h('input', { placeholder: 'Why? (kept in the history)', 'aria-label': 'Note for the history', maxLength: 200 });
  const go = h('button', { type: 'button', class: 'primary', disabled: true, on: { click: () => void deploy() } }, 'Deploy');
  const cancel = h('button', { type: 'button', on: { click: () => close() } }, 'Cancel');
  const box = h('div', { class: 'popover', role: 'dialog', 'aria-labelledby': id, popover: 'auto', tabIndex: -1 }, h('h2', { id }, 'Deploy'), body, note, h('div', { class: 'ends' }, cancel, go));
  let over = false;

  const close = () => {
    if (!isOpen) return;
    isOpen = false;
    if (box.matches(':popover-open')) box.hidePopover();
    box.remove();
    if (before?.isConnected) before.focus({ preventScroll: true });
    else at('canvas').focus({ preventScroll: true });
  };
  const deploy = async () => {
    if (go.disabled) return;
    go.disabled = true;
    go.textContent = 'Deploying…';
    try {
      await app.draft.flush();
      const answer = await app.api.post(app.api.flow(app.id, '/deploy'), { etag: app.draft.etag, note: note.value || null, ...(over && { over: true }) });
      app.fresh.clear();
      app.gotState(answer.state);
      app.tell('deployed');
      close();
      const { start, restart, stop } = answer.plan;
      const words = [start.length && `${plural(start.length, 'node')} started`, restart.length && `${plural(restart.length, 'node')} restarted`, stop.length && `${plural(stop.length, 'node')} stopped`].filter(Boolean);
      app.say(`Deployed${words.length ? `: ${words.join(', ')}` : ''}.`);
    } catch (error) {
      go.textContent = 'Deploy';
      put(body, fault(app, error));
      if (error.slug === 'deploy-conflict') {
        over = true;
        go.textContent = 'Replace it';
        go.disabled = false;
      }
    }
  };
  box.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') close();
    else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey || event.target === note)) {
      hurried = true;
      void deploy();
    }
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  box.addEventListener('toggle', (event) => /** @type {any} */ (event).newState === 'closed' && close());
  document.body.append(box);
  box.showPopover();
  const anchor = at('deploy').getBoundingClientRect();
  box.style.top = `${anchor.bottom + 6}px`;
  box.style.left = `${Math.max(8, Math.min(anchor.right - 360, innerWidth - 368))}px`;
  box.focus();
  try {
    await app.draft.flush();
    const plan = await app.api.post(app.api.flow(app.id, '/deploy?dry_run=1'), { etag: app.draft.etag, note: null });
    put(body, planView(app, plan));
    go.disabled = !plan.can;
    if (plan.can && box.contains(document.activeElement)) go.focus();
    if (hurried) await deploy();
  } catch (error) {
    put(body, fault(app, error));
  }
}

/** @param {any} app @param {any} plan */
function planView(app, plan) {
  const names = (/** @type {string[]} */ ids) => ids.slice(0, 6).map((id) => (app.store.nodes.has(id) ? titleOf(app.store.nodes.get(id), id) : id)).join(', ') + (ids.length > 6 ? ` and ${ids.length - 6} more` : '');
  /** @type {[string, string[]][]} */
  const parts = [['Start', plan.start], ['Restart', plan.restart], ['Stop', plan.stop]];
  const rows = parts.filter(([, ids]) => ids.length).flatMap(([word, ids]) => [h('dt', {}, word), h('dd', { title: ids.map((id) => `${id}: ${plan.reasons?.[id] ?? ''}`).join('\n') }, names(ids))]);
  const waiting = Object.values(plan.waiting ?? {}).reduce((sum, /** @type {any} */ each) => sum + each, 0);
  return h(
    'div',
    {},
    h('dl', { class: 'plan' }, rows, h('dt', {}, 'Keep running'), h('dd', {}, plural(plan.keep.length, 'node')), h('dt', {}, 'Messages'), h('dd', { class: plan.dropped ? 'is-error' : '' }, plan.dropped ? `${plan.dropped} would be dropped` : waiting ? `${waiting} waiting, none dropped` : 'none dropped')),
    (plan.missing ?? []).map((/** @type {any} */ each) => h('p', { class: 'fault' }, icon('warning'), `No value for the ${each.kind} “${each.name}”${each.where ? ` (${each.where})` : ''}.`)),
    (plan.powers ?? []).length ? h('p', { class: 'fault is-warn' }, icon('lock'), `Uses ${plan.powers.map((/** @type {any} */ each) => each.type).join(', ')}.`) : null,
    plan.check && !plan.check.ok ? plan.check.findings.filter((/** @type {Finding} */ each) => each.severity === 'error').slice(0, 4).map((/** @type {Finding} */ each) => h('p', { class: 'fault' }, icon('cross'), `${each.where.node ?? each.where.wire ?? ''}: ${each.what}`)) : null,
    plan.diff && !plan.diff.same && plan.diff.text ? diffView(plan.diff.text) : null,
  );
}

/** @param {any} app @param {any} error */
function fault(app, error) {
  const findings = error.body?.findings ?? [];
  return h(
    'div',
    {},
    h('p', { class: 'fault' }, icon('cross'), h('span', {}, error.message, error.mend ? h('span', { class: 'mend' }, ` ${error.mend}`) : null)),
    findings.slice(0, 6).map((/** @type {Finding} */ each) => h('p', { class: 'fault' }, icon('cross'), h('span', {}, `${each.where?.node ?? each.where?.wire ?? ''} ${each.what}`, each.mend ? h('span', { class: 'mend' }, ` ${each.mend}`) : null))),
    error.body?.diff?.text ? diffView(error.body.diff.text) : null,
  );
}

/** A diff as the command line prints it, with its signs coloured. @param {string} text */
export function diffView(text) {
  /** @type {Record<string, string>} */
  const kinds = { '+': 'plus', '-': 'minus', '~': 'change' };
  return h('pre', { class: 'diff', tabIndex: 0, 'aria-label': 'What differs' }, text.trimEnd().split('\n').flatMap((line) => [h('span', { class: kinds[line.trim()[0]] ?? '' }, line), '\n']));
}
