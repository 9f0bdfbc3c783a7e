// Ids: readable slugs made from titles, and free names for copies (`-2`, `-3`).

export const SLUG = /^[a-z][a-z0-9-]*$/;

/** @param {string} title @returns {string} a slug, `node` where nothing is left of the title */
export function slug(title) {
  const plain = title
    .normalize('NFKD')
    .toLowerCase()
    .replace(/ß/g, 'ss')
    .replace(/[\u0300-\u036f]/g, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '')
    .slice(0, 48)
    .replace(/-+$/, '');
  return plain || 'node';
}

/**
 * @param {string} wanted a slug
 * @param {{has(id: string): boolean}} taken
 * @returns {string} `wanted`, or the first of `wanted-2`, `wanted-3`, ... that is free
 */
export function freeId(wanted, taken) {
  if (!taken.has(wanted)) return wanted;
  const stem = wanted.replace(/-\d+$/, '');
  for (let number = 2; ; number++) {
    const id = `${stem}-${number}`;
    if (!taken.has(id)) return id;
  }
}

/** The last part of a type's name as a first id: `mqtt.in` gives `mqtt-in`. @param {string} type */
export function idForType(type) {
  return slug(type.replace(/\./g, '-'));
}
