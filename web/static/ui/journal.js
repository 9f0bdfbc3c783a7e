// The journal over reloads: kept in this browser's database, one record a flow.

import { later } from './dom.js';

const STORE = 'journals';
const PATIENCE = 2000;

/** @returns {Promise<IDBDatabase>} */
function database() {
  return new Promise((done, fail) => {
    const ask = indexedDB.open('flowengine', 1);
    ask.onupgradeneeded = () => ask.result.createObjectStore(STORE);
    ask.onsuccess = () => done(ask.result);
    ask.onerror = () => fail(ask.error);
    // A database that another tab holds must not keep the editor from being ready.
    setTimeout(() => fail(new Error('the database does not open')), PATIENCE);
  });
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answer(request) {
  return new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
}

/** Take up the journal of this flow, and keep it from now on. @param {any} app */
export async function keepJournal(app) {
  if (app.readOnly) return;
  let db;
  try {
    db = await database();
    const kept = await answer(db.transaction(STORE).objectStore(STORE).get(app.id));
    if (!app.history.steps.length) app.history.takeUp(kept);
  } catch {
    return; // A private window keeps nothing: undo works until the page is left.
  }
  const found = db;
  const write = () => {
    try {
      found.transaction(STORE, 'readwrite').objectStore(STORE).put(app.history.written(), app.id);
    } catch {
      // Full: the journal of this sitting stays in memory.
    }
  };
  const soon = later(write, 500);
  app.history.listen(soon);
  addEventListener('pagehide', write);
}
