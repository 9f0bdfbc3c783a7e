// The Docs tab: what a type does, from its docstring, and what its fields mean.

import { plainText } from '../model/size.js';
import { h, put } from './dom.js';
import { markdown } from './markdown.js';
import { formOf } from './settings.js';

/** @param {any} app @param {HTMLElement} element */
export function show(app, element) {
  const draw = async () => {
    const { only } = app.selection;
    const spec = only && app.store.nodes.get(only);
    const type = spec && app.types.get(spec.type);
    if (!type) {
      const doc = plainText(app.store.head.doc);
      put(element, doc ? markdown(doc) : h('p', { class: 'nothing' }, 'Choose a node to read what its type does. Text under Settings, Note, describes the flow.'));
      return;
    }
    const own = plainText(spec.doc);
    const form = await formOf(app, type.name).catch(() => null);
    if (app.selection.only !== only) return;
    put(element, own ? markdown(own) : null, markdown(lines(form?.doc || type.summary)));
    if (!form?.fields.length) return;
    element.append(h('div', { class: 'prose' }, h('h3', {}, 'Settings'), h('dl', {}, form.fields.map((field) => h('div', {}, h('dt', {}, field.name), h('dd', {}, field.help))))));
  };
  void draw();
  return app.on('selection', draw);
}

/** `In:`, `Out:` and the like of a docstring each begin a paragraph. @param {string} text */
function lines(text) {
  return text.replace(/\n(?=(?:In|Out|State|Raises|Identity)\b[^.\n]*:)/g, '\n\n').replace(/^(In|Out[^:\n]*|State[^:\n]*|Raises|Identity):/gm, '**$1:**');
}
