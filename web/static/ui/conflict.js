// Two people changed the same thing: which version shall stand? Nothing is lost before it is said.

import { dialogue } from './ask.js';
import { diffView } from './deploy.js';
import { h } from './dom.js';

/** @param {any} body of the 412 @returns {Promise<boolean>} whether mine stands */
export async function askConflict(body) {
  const who = body.by ?? 'Someone else';
  let mine = true;
  const name = 'whose';
  const choice = (/** @type {boolean} */ value, /** @type {string} */ label, /** @type {any} */ diff) =>
    h('label', { class: 'choice-block' }, h('input', { type: 'radio', name, checked: value === mine, on: { change: () => (mine = value) } }), h('span', {}, label), diff?.text ? diffView(diff.text) : null);
  const answer = await dialogue(
    `${who} changed this flow too`,
    [
      h('p', {}, (body.conflicts ?? []).map((/** @type {any} */ each) => each.what).join(' ') || 'The two drafts cannot be put together by themselves.'),
      choice(true, 'Keep mine, in place of theirs', body.changes?.mine),
      choice(false, 'Take theirs, drop what I changed since', body.changes?.theirs),
    ],
    'Go on',
    () => ({ mine }),
  );
  return answer ? answer.mine : true;
}
