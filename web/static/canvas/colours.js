// The tokens as a canvas needs them: read from the style sheet once, and again after a theme change.

const NAMES = [
  'canvas', 'node', 'ink', 'muted', 'line', 'edge', 'hair', 'wire', 'dots', 'accent', 'warn', 'error', 'ok',
  'source', 'network', 'logic', 'function', 'storage', 'output', 'flow', 'debug',
];

/** @type {Record<string, string> | null} */
let known = null;
/** @type {Set<() => void>} */
const listeners = new Set();

/** @returns {Record<string, string>} */
export function colours() {
  if (known) return known;
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  known = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    known[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  const root = getComputedStyle(document.documentElement);
  known.font = root.getPropertyValue('--font').trim();
  known.mono = root.getPropertyValue('--mono').trim();
  return known;
}

/** @param {() => void} listener called after the theme has changed @returns {() => boolean} stops */
export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function changed() {
  known = null;
  for (const listener of listeners) listener();
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
new MutationObserver(changed).observe(document.documentElement, { attributeFilter: ['data-theme'] });
