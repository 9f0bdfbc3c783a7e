// The page of people and access: one's own sessions, and for admins users, tokens and the audit log.
//
// A link or a token is shown once, in the dialog of the moment it was made.

import { Api } from './net/api.js';
import { ago, at, freshId, h, icon, iconButton, later, plural, put, setStatic } from './ui/dom.js';
import { askPassword, confirm, dialogue } from './ui/ask.js';
import { applyTaste, swapTheme } from './ui/memory.js';

const ROLES = ['viewer', 'editor', 'deployer', 'admin'];
const MAY = 'A viewer looks on, an editor changes drafts, a deployer makes them run, an admin also sees to people.';
const page = JSON.parse(at('page').textContent ?? '{}');
setStatic(page.static);
applyTaste();
const api = new Api(page.base, page.csrf);
const isAdmin = Boolean(page.user?.rights?.includes('admin'));

/** @param {string} text @param {string} [mend] */
function say(text, mend = '') {
  const toast = at('toast');
  put(toast, h('p', {}, `${text} ${mend}`.trim()));
  toast.hidden = false;
  setTimeout(() => (toast.hidden = true), 8000);
}

/** Do what was asked for, then show how things are. @param {() => Promise<any>} work @param {string} [done] */
async function attempt(work, done = '') {
  try {
    await work();
    if (done) say(done);
  } catch (/** @type {any} */ error) {
    say(error.message, error.mend);
  }
  await read();
}

const when = (/** @type {string | null} */ moment) => (moment ? h('time', { dateTime: moment, title: new Date(moment).toLocaleString() }, ago(moment)) : 'never');
const until = (/** @type {string} */ moment) => h('time', { dateTime: moment }, new Date(moment).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' }));

/** @param {string} name @param {string[]} heads @param {(Node | null)[]} rows @param {string} none */
function table(name, heads, rows, none) {
  if (!rows.length) return h('p', { class: 'nothing' }, none);
  return h('table', { 'aria-label': name }, h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head || h('span', { class: 'unseen' }, 'Actions'))))), h('tbody', {}, rows));
}

/** A value that is shown this once, to be copied. @param {string} title @param {string} text @param {string} value */
async function once(title, text, value) {
  const input = h('input', { type: 'text', value, readOnly: true, 'aria-label': title });
  const copy = h('button', { type: 'button', on: { click: () => navigator.clipboard?.writeText(value).then(() => put(copy, icon('check'), 'Copied')) } }, icon('copy'), 'Copy');
  await dialogue(title, [h('p', {}, text), h('div', { class: 'once' }, input, copy)], 'Done', () => true);
}

const showLink = (/** @type {string} */ name, /** @type {any} */ link) =>
  once(`One-time link for ${name}`, `Send it to ${name} by a safe way: whoever opens it first is ${name}, and chooses a password. It is good for a day, and shown only now.`, `${location.origin}/login?next=/people#first=${link.token}`);

// -- one's own

/** @param {any[]} sessions */
function drawSessions(sessions) {
  const others = sessions.filter((each) => !each.this).length;
  put(
    at('own-sessions'),
    table('Your sessions', ['Session', 'Began', 'Ends', ''], sessions.map((each) =>
      h('tr', {}, h('td', {}, h('span', { class: 'mono' }, each.id), each.this && h('span', { class: 'badge ok' }, 'this one')), h('td', { class: 'when' }, when(each.since)), h('td', { class: 'when' }, until(each.ends)), h('td', { class: 'tools' })),
    ), 'No session.'),
    others ? h('p', { class: 'more' }, h('button', { type: 'button', on: { click: () => attempt(() => api.call('DELETE', '/sessions'), `${plural(others, 'other session')} ended.`) } }, `End ${plural(others, 'other session')}`)) : null,
  );
}

// -- users

/** @param {any} user */
function userRow(user) {
  const change = (/** @type {any} */ what) => attempt(() => api.call('PUT', `/users/${encodeURIComponent(user.name)}`, { body: { role: user.role, powers: user.powers, ...what } }), `${user.name} is changed.`);
  const role = h('select', { 'aria-label': `Role of ${user.name}`, on: { change: () => change({ role: role.value }) } }, ROLES.map((each) => h('option', { value: each, selected: each === user.role }, each)));
  const powers = h('input', { type: 'checkbox', checked: user.powers || user.role === 'admin', disabled: user.role === 'admin', on: { change: () => change({ powers: powers.checked }) } });
  const path = `/users/${encodeURIComponent(user.name)}`;
  const remove = async () => {
    if (await confirm({ title: `Remove ${user.name}?`, text: 'All sessions and API tokens of this person end at once. What they did stays in the audit log.', ok: 'Remove', danger: true })) await attempt(() => api.call('DELETE', path), `${user.name} is removed.`);
  };
  const link = async () => {
    const text = user.has_password ? `When ${user.name} opens the link, the password of now is void and a new one is chosen.` : `Opening it lets ${user.name} in, to choose a password.`;
    if (await confirm({ title: `One-time link for ${user.name}?`, text, ok: 'Make the link' })) await attempt(async () => showLink(user.name, await api.post(`${path}/link`)));
  };
  return h(
    'tr', {},
    h('td', {}, h('b', {}, user.name), user.you && h('span', { class: 'badge' }, 'you'), user.link_until ? h('span', { class: 'badge warn' }, 'link not opened yet') : !user.has_password && h('span', { class: 'badge warn' }, 'no password')),
    h('td', {}, role),
    h('td', {}, h('label', { class: 'check', title: 'May change and deploy nodes that reach files, programs or other hosts' }, powers, h('span', {}, 'powers'))),
    h('td', { class: 'when num' }, user.sessions ? plural(user.sessions, 'session') : 'not logged in'),
    h('td', { class: 'tools' },
      iconButton('external', `One-time link for ${user.name}`, link),
      iconButton('power', `End the sessions of ${user.name}`, () => attempt(() => api.call('DELETE', `${path}/sessions`), `The sessions of ${user.name} are ended.`), { disabled: user.you || !user.sessions }),
      iconButton('trash', `Remove ${user.name}`, remove, { disabled: user.you }),
    ),
  );
}

/** A labelled control of a dialog. @param {string} text @param {HTMLElement} control */
function labelled(text, control) {
  control.id ||= freshId('field');
  return [h('label', { class: 'label', for: control.id }, text), control];
}

async function addUser() {
  const name = h('input', { type: 'text', autocomplete: 'off', spellcheck: false, placeholder: 'anna' });
  const role = h('select', {}, ROLES.map((each) => h('option', { value: each }, each)));
  const powers = h('input', { type: 'checkbox' });
  const way = freshId('way');
  const byLink = h('input', { type: 'radio', name: way, checked: true });
  const byPassword = h('input', { type: 'radio', name: way });
  const password = h('input', { type: 'password', autocomplete: 'new-password', 'aria-label': 'Password', placeholder: '10 characters or more', hidden: true });
  for (const each of [byLink, byPassword]) each.addEventListener('change', () => (password.hidden = !byPassword.checked));
  const fault = h('p', { class: 'fault', role: 'alert' });
  const body = [
    ...labelled('Name', name), ...labelled('Role', role), h('p', { class: 'small muted help' }, MAY),
    h('div', { class: 'choice' }, h('label', {}, powers, 'May use nodes that reach files, programs or other hosts')),
    h('div', { class: 'choice', role: 'radiogroup', 'aria-label': 'First login' }, h('label', {}, byLink, 'One-time link'), h('label', {}, byPassword, 'Password')),
    password, fault,
  ];
  const given = await dialogue('Add a person', body, 'Add', () => {
    const why = !/^[a-z][a-z0-9._-]{0,63}$/.test(name.value.trim()) ? 'Small letters, digits, dots and hyphens; a letter first.' : byPassword.checked && password.value.length < 10 ? 'Take ten characters or more.' : '';
    put(fault, why);
    return why ? undefined : { name: name.value.trim(), role: role.value, powers: powers.checked, password: byPassword.checked ? password.value : null };
  });
  if (given) await attempt(async () => {
    const made = await api.post('/users', given);
    if (made.link) await showLink(made.name, made.link);
  });
}

// -- tokens

/** @param {any} token */
function tokenRow(token) {
  const revoke = async () => {
    if (await confirm({ title: `Revoke ${token.id}?`, text: `Scripts that use it are refused from the next request on${token.note ? ` (${token.note})` : ''}.`, ok: 'Revoke', danger: true })) await attempt(() => api.call('DELETE', `/tokens/${encodeURIComponent(token.id)}`), 'The token is revoked.');
  };
  return h(
    'tr', {},
    h('td', {}, h('b', {}, token.note || 'Token'), ' ', h('span', { class: 'mono muted' }, `fe_${token.id}_…`)),
    h('td', {}, token.user, h('span', { class: 'badge' }, token.role)),
    h('td', { class: 'when' }, 'used ', when(token.used)),
    h('td', { class: 'when' }, token.expired ? h('span', { class: 'is-error' }, 'expired') : ['until ', until(token.ends)]),
    h('td', { class: 'tools' }, iconButton('trash', `Revoke the token ${token.id}`, revoke)),
  );
}

/** @param {any[]} users */
async function addToken(users) {
  const user = h('select', {}, users.map((each) => h('option', { value: each.name, selected: each.you }, each.name)));
  const role = h('select', {}, ROLES.map((each) => h('option', { value: each }, each)));
  const days = h('input', { type: 'text', inputMode: 'numeric', value: '90', class: 'narrow' });
  const note = h('input', { type: 'text', placeholder: 'what it is for', autocomplete: 'off' });
  const fault = h('p', { class: 'fault', role: 'alert' });
  const body = [...labelled('What it is for', note), ...labelled('It acts for', user), ...labelled('It may do at most what this role may', role), ...labelled('Days until it expires (1 to 366)', days), fault];
  const given = await dialogue('New API token', body, 'Make the token', () => {
    const count = Number(days.value);
    const why = count >= 1 && count <= 366 ? '' : 'Give 1 to 366 days.';
    put(fault, why);
    return why ? undefined : { user: user.value, role: role.value, days: count, note: note.value.trim() };
  });
  if (given) await attempt(async () => once('Your new token', 'Copy it now: it is kept only as a hash, and cannot be shown again. Send it as “Authorization: Bearer …”.', (await api.post('/tokens', given)).token));
}

// -- the audit log

/** @type {any[]} */
let entries = [];
const PAGE = 100;

/** @param {boolean} [more] behind those that are shown */
async function readAudit(more = false) {
  const find = /** @type {HTMLInputElement} */ (at('find-audit')).value.trim();
  const before = more && entries.length ? `&before=${entries.at(-1)?.n}` : '';
  const found = await api.get(`/audit?last=${PAGE}&find=${encodeURIComponent(find)}${before}`);
  entries = more ? [...entries, ...found.entries] : found.entries;
  put(at('audit-whole'), found.whole ? [] : h('span', { class: 'badge error' }, `broken at entry ${found.broken_at}`));
  put(
    at('audit'),
    table('Audit log', ['When', 'Who', 'What', 'Flow'], entries.map((each) =>
      h('tr', {}, h('td', { class: 'when num' }, h('time', { dateTime: each.at, title: each.at }, new Date(each.at).toLocaleString())), h('td', {}, h('b', {}, each.who || '–')), h('td', { class: 'what' }, each.what), h('td', {}, each.flow ? h('a', { href: `/flows/${encodeURIComponent(each.flow)}` }, each.flow) : '')),
    ), find ? 'Nothing with these words.' : 'Nothing yet.'),
    found.entries.length === PAGE ? h('p', { class: 'more' }, h('button', { type: 'button', on: { click: () => readAudit(true) } }, 'Older entries')) : null,
  );
}

async function read() {
  const asked = [api.get('/sessions').then((found) => drawSessions(found.sessions))];
  if (isAdmin) {
    asked.push(
      api.get('/users').then((found) => {
        users = found.users;
        put(at('users'), table('People', ['Name', 'Role', 'Powers', 'Sessions', ''], users.map(userRow), 'Nobody yet.'));
      }),
      api.get('/tokens').then((found) => void put(at('tokens'), table('API tokens', ['What for', 'Acts for', 'Used', 'Expires', ''], found.tokens.map(tokenRow), 'No tokens. A script sends one instead of logging in.'))),
      readAudit(),
    );
  }
  await Promise.all(asked).catch((error) => say(error.message, error.mend));
}

/** @type {any[]} */
let users = [];
at('theme').addEventListener('click', swapTheme);
at('log-out').addEventListener('click', async () => {
  await api.call('DELETE', '/session');
  location.assign('/login');
});
at('password').addEventListener('click', async () => {
  try {
    if (await askPassword({ page, api, say })) location.reload();
  } catch (/** @type {any} */ error) {
    say(error.message, error.mend);
  }
});
if (isAdmin) {
  at('add-user').addEventListener('click', addUser);
  at('add-token').addEventListener('click', () => addToken(users));
  at('find-audit').addEventListener('input', later(() => readAudit(), 200));
}
await read();
document.documentElement.dataset.ready = 'true';
