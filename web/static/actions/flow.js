// The flow as a whole: deploy, discard, export, import, delete, and the session.

/** @param {any} app */
async function exportFlow(app) {
  await app.draft.flush();
  const link = document.createElement('a');
  link.href = `${app.api.base}${app.api.flow(app.id, '/export?bundle=1')}`;
  link.download = `${app.id}.json`;
  link.click();
}

/** @param {any} app */
async function discard(app) {
  const { confirm } = await import('../ui/ask.js');
  const sure = await confirm({ title: 'Discard the draft?', text: 'The draft becomes what is deployed again. History keeps the deployed versions; what was changed since is gone.', ok: 'Discard', danger: true });
  if (sure) await app.draft.reload(await app.api.post(app.api.flow(app.id, '/discard')));
}

/** @param {any} app */
async function remove(app) {
  const { confirm } = await import('../ui/ask.js');
  const sure = await confirm({ title: `Delete “${app.state.title || app.id}”?`, text: 'It is stopped and its files are moved to the folder .removed, from where they can be taken back.', ok: 'Delete flow', danger: true });
  if (!sure) return;
  await app.api.call('DELETE', app.api.flow(app.id));
  location.assign('/');
}

/** @param {any} app */
async function newFlow(app) {
  const { ask } = await import('../ui/ask.js');
  const title = await ask({ title: 'New flow', label: 'Title', value: '', ok: 'Create' });
  if (!title) return;
  const { state } = await app.api.post('/flows', { id: null, title, example: null, document: null, layout: null });
  location.assign(`/flows/${encodeURIComponent(state.id)}`);
}

/** @type {Action[]} */
export default [
  { id: 'deploy', title: 'Deploy…', group: 'Flow', icon: 'deploy', keys: ['Ctrl+Enter'], when: (app) => app.can('deploy') && (app.state.draft.changed || !app.state.deployed || app.draft.state !== 'saved'), run: async (app) => (await import('../ui/deploy.js')).openDeploy(app) },
  { id: 'save', title: 'Save the draft now', group: 'Flow', keys: ['Ctrl+S'], run: (app) => app.draft.flush() },
  { id: 'discard', title: 'Discard the draft…', group: 'Flow', when: (app) => app.state.draft.changed && app.state.deployed, run: discard },
  { id: 'settings', title: 'Flow settings', group: 'Flow', icon: 'settings', reads: true, run: (app) => {
    app.selection.clear();
    app.tell('panel', { right: 'settings', focus: true });
  } },
  { id: 'new-flow', title: 'New flow…', group: 'Flow', icon: 'plus', run: newFlow },
  { id: 'import', title: 'Import…', group: 'Flow', icon: 'upload', run: async (app) => (await import('../ui/import.js')).openImport(app.api) },
  { id: 'export', title: 'Export as one file', group: 'Flow', icon: 'download', reads: true, run: exportFlow },
  { id: 'live-view', title: 'Open the live view (read-only)', group: 'Flow', icon: 'eye', reads: true, run: (app) => void window.open(`/flows/${encodeURIComponent(app.id)}?view=1`, '_blank', 'noopener') },
  { id: 'delete-flow', title: 'Delete this flow…', group: 'Flow', icon: 'trash', when: (app) => app.can('deploy'), run: remove },
  { id: 'password', title: 'Change password…', group: 'Session', icon: 'user', reads: true, when: (app) => app.page.user, run: async (app) => (await import('../ui/ask.js')).askPassword(app) },
  { id: 'log-out', title: 'Log out', group: 'Session', reads: true, when: (app) => app.page.user, run: async (app) => {
    await app.api.call('DELETE', '/session');
    location.assign('/login');
  } },
];
