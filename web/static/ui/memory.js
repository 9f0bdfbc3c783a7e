// What this browser remembers of someone's taste: folded panels, theme, types last used.

const STEM = 'flowengine:';

/** @param {string} name @returns {string} '' for nothing */
export function remembered(name) {
  try {
    return localStorage.getItem(STEM + name) ?? '';
  } catch {
    return '';
  }
}

/** @param {string} name @param {string} value */
export function remember(name, value) {
  try {
    if (value) localStorage.setItem(STEM + name, value);
    else localStorage.removeItem(STEM + name);
  } catch {
    // A browser that keeps nothing forgets: nothing depends on it.
  }
}

/** The theme and the density chosen before, on the root element. */
export function applyTaste() {
  for (const name of ['theme', 'density']) {
    const value = remembered(name);
    if (value) document.documentElement.setAttribute(`data-${name}`, value);
  }
}

/** Light or dark, the other one; nothing is remembered where it is what the system says. */
export function swapTheme() {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  const next = (document.documentElement.dataset.theme || dark) === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  remember('theme', remembered('theme') && next === dark ? '' : next);
}
