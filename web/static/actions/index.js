// The one registry of what can be done: palette, menus, buttons and keys all take it from here.

/** @type {Map<string, Action>} */
const actions = new Map();
/** Actions by key. @type {Map<string, Action[]>} */
const keys = new Map();

/** @param {Action[]} list */
export function register(list) {
  for (const action of list) {
    if (actions.has(action.id)) throw new Error(`two actions are called "${action.id}"`);
    actions.set(action.id, action);
    for (const key of action.keys ?? []) keys.set(key, [...(keys.get(key) ?? []), action]);
  }
}

/** @param {string} id */
export function find(id) {
  return actions.get(id);
}

export function all() {
  return [...actions.values()];
}

/** @param {Action} action @param {any} app */
export function titleOfAction(action, app) {
  return typeof action.title === 'function' ? action.title(app) : action.title;
}

/** @param {Action} action @param {any} app */
export function possible(action, app) {
  return (!app.readOnly || action.reads) && (!action.when || action.when(app));
}

/** A key as the registry writes it: "Ctrl+Shift+Z", "/", "ArrowLeft". @param {KeyboardEvent} event */
export function keyName(event) {
  const letter = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  // With a sign, Shift is already in it: "?" is Shift+/ on some keyboards and not on others.
  const shift = event.shiftKey && (event.key.length > 1 || letter !== event.key.toLowerCase());
  const command = event.ctrlKey || event.metaKey;
  return [command && 'Ctrl', event.altKey && 'Alt', shift && 'Shift', letter].filter(Boolean).join('+');
}

/** Single letters act only where canvas or outline has the focus (WCAG 2.1.4). @param {EventTarget | null} target */
function onCanvas(target) {
  const element = /** @type {Element | null} */ (target);
  return Boolean(element?.closest?.('#canvas, [role=tree]')) && !element?.closest('input, textarea, select');
}

/** @param {EventTarget | null} target */
function inField(target) {
  return Boolean(/** @type {Element | null} */ (target)?.closest?.('input, textarea, select, [contenteditable]'));
}

/** @param {any} app @param {KeyboardEvent} event */
export function handleKey(app, event) {
  if (event.defaultPrevented || event.isComposing) return;
  const name = keyName(event);
  const anywhere = /^(Ctrl|Alt)\+/.test(name) || /^F\d/.test(name);
  if (document.querySelector('dialog[open]')) return;
  // In a field, Ctrl+Z and the like are the field's own; commands of the page are not.
  if (inField(event.target) && !/^Ctrl\+(K|Enter|J|S|\\)$/.test(name)) return;
  if (!anywhere && !onCanvas(event.target)) return;
  const action = (keys.get(name) ?? []).find((each) => possible(each, app));
  if (!action) return;
  event.preventDefault();
  app.run(action.id);
}

/** The first key of an action, as people read it. @param {Action} action */
export function keyOf(action) {
  const [key] = action.keys ?? [];
  if (!key) return '';
  return key.replace('Arrow', '').replace(/^(.*\+)?Delete$/, '$1Del');
}
