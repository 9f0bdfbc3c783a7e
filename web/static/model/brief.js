// The one value of a config that says most about its node: what the second line of a card shows.

import { plainText } from './size.js';

// In this order: what a node listens to or asks for, then what it works on, then how often.
const TELLING = [
  'topic', 'when', 'expression', 'text', 'uri', 'url', 'query', 'path', 'series', 'measurement',
  'to', 'code', 'key', 'every', 'for', 'per', 'count', 'format', 'devices', 'metrics', 'table',
];

/** A value as people would say it; references by their name. @param {any} value @returns {string} */
export function say(value) {
  if (value === null || value === undefined) return '';
  if (Array.isArray(value)) {
    if (value.length && value.every((each) => typeof each === 'string')) return value.join(', ');
    return value.length === 1 ? say(value[0]) : `${value.length} items`;
  }
  if (typeof value !== 'object') return String(value);
  for (const kind of ['$param', '$env', '$secret']) {
    if (typeof value[kind] === 'string') return kind === '$param' ? value[kind] : `${kind}: ${value[kind]}`;
  }
  const keys = Object.keys(value);
  return keys.length === 1 ? `${keys[0]} = ${say(value[keys[0]])}` : `${keys.length} values`;
}

/** A path without its first word: `payload.temperature` is a temperature. @param {any} path */
function short(path) {
  return say(path).replace(/^payload\./, '');
}

/**
 * @param {NodeSpec} spec
 * @param {NodeType} [type]
 * @returns {string} at most one line, '' where nothing is set
 */
export function brief(spec, type) {
  const config = spec.config ?? {};
  const field = short(config.field ?? '');
  const has = (/** @type {string} */ key) => config[key] !== undefined && config[key] !== null;
  if (has('above')) return `${field || 'value'} > ${say(config.above)}`;
  if (has('below')) return `${field || 'value'} < ${say(config.below)}`;
  if (has('min') || has('max')) {
    const [least, most] = [has('min') ? say(config.min) : '−∞', has('max') ? say(config.max) : '∞'];
    return `${field || 'value'} ${least} … ${most}`;
  }
  if (Array.isArray(config.rules)) return rules(config.rules);
  if (has('from') && has('to')) return `${field ? `${field} ` : ''}${say(config.from)} → ${say(config.to)}`;
  if (config.set && typeof config.set === 'object') {
    const names = Object.keys(config.set);
    return names.length === 1 ? `${short(names[0])} = ${say(config.set[names[0]])}` : names.map(short).join(', ');
  }
  if (Array.isArray(config.fields)) {
    const functions = Array.isArray(config.functions) ? config.functions.join(', ') : 'mean';
    const span = has('every') ? ` / ${say(config.every)}` : '';
    return `${functions} ${config.fields.map(short).join(', ')}${span}`;
  }
  for (const key of TELLING) {
    if (!has(key)) continue;
    const long = key === 'text' || key === 'code' || key === 'query';
    return long ? plainText(config[key]).split('\n')[0] : say(config[key]);
  }
  if (type?.shows && has(type.shows)) return say(config[type.shows]);
  if (field) return field;
  const first = Object.values(config).find((value) => value !== null && typeof value !== 'object');
  return say(first);
}

/** @param {any[]} list */
function rules(list) {
  const [first] = list;
  const when = first && typeof first === 'object' ? say(first.when) : '';
  return list.length > 1 ? `${list.length} rules: ${when}` : when;
}
