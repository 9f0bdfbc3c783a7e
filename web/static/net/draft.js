// Saving the draft: soon after each change, against the version it was made from; never over others.
//
// The draft lives on the server and nothing runs from it before a deploy. A 412 means someone else
// saved first: what fits together is merged by the server, the rest is asked.

import { later, settle } from '../ui/dom.js';

const SOON = 350;

export class Draft {
  /** @param {any} app */
  constructor(app) {
    this.app = app;
    this.etag = app.page.flow.state.draft.etag;
    this.rev = app.page.flow.state.draft.rev;
    this.label = '';
    this.logic = false;
    this.places = false;
    /** @type {'saved' | 'saving' | 'waiting' | 'failed'} */
    this.state = 'saved';
    /** @type {Promise<void> | null} */
    this.running = null;
    this.soon = later(() => this.flush(), SOON);
  }

  /** @param {Changed} changed @param {string} label */
  changed(changed, label) {
    if (this.app.readOnly || changed.all) return;
    if (changed.nodes.size || changed.wires.size || changed.head) {
      this.logic = true;
      this.label = label;
    }
    if (changed.moved.size) this.places = true;
    this.tell('waiting');
    this.soon();
  }

  /** Save what is not saved; done when it is. @returns {Promise<void>} */
  async flush() {
    settle();
    this.soon.stop();
    while (this.running) await this.running;
    if (!this.logic && !this.places) return;
    this.running = this.save().finally(() => (this.running = null));
    await this.running;
    if (this.state === 'waiting') await this.flush();
  }

  async save() {
    const { app } = this;
    const [logic, places] = [this.logic, this.places];
    this.logic = this.places = false;
    this.tell('saving');
    try {
      if (logic) {
        const document = app.store.flow();
        const path = app.api.flow(app.id);
        const { data, etag } = await app.api.call('PUT', path, { body: { document, label: this.label || null }, etag: this.etag });
        this.took(data, etag);
      }
      if (places) await app.api.call('PUT', app.api.flow(app.id, '/layout'), { body: { nodes: app.store.layout() }, etag: '*' });
      if (this.logic || this.places) this.tell('waiting');
      else this.tell('saved');
    } catch (error) {
      this.places ||= places;
      if (error.slug === 'draft-changed') return this.met(error.body);
      this.logic ||= logic;
      this.tell('failed');
      if (error.slug === 'no-connection') setTimeout(() => this.soon(), 3000);
      else app.problem(error);
    }
  }

  /** @param {any} data @param {string} etag */
  took(data, etag) {
    this.etag = etag || data.state.draft.etag;
    this.rev = data.state.draft.rev;
    this.app.gotState(data.state);
    this.app.gotCheck(data.check);
  }

  /** Someone saved before us. @param {any} body */
  async met(body) {
    const { app } = this;
    this.etag = body.etag;
    if (body.merged && !(body.conflicts ?? []).length) {
      app.takeDocument(body.merged);
      this.logic = true;
      this.label = 'Merge';
      app.say(`${body.by ?? 'Someone'} changed this flow too; both changes were put together.`);
      this.tell('waiting');
      return;
    }
    const { askConflict } = await import('../ui/conflict.js');
    const mine = await askConflict(body);
    if (mine) {
      this.logic = true;
      this.tell('waiting');
    } else {
      app.takeDocument(body.theirs);
      this.tell('saved');
    }
  }

  /** The server started anew: what waits here is saved first, and what others changed meanwhile is read. */
  async returned() {
    await this.flush();
    if (this.state !== 'saved') return; // it is tried again, or a person is asked
    const fresh = await this.app.api.get(this.app.api.flow(this.app.id));
    if (fresh.state.draft.etag !== this.etag) return this.reload(fresh);
    this.app.gotState(fresh.state);
    this.app.gotCheck(fresh.check);
  }

  /** Read the flow again, from someone else's change or after a return. @param {Whole} [whole] */
  async reload(whole) {
    const { app } = this;
    const fresh = whole ?? (await app.api.get(app.api.flow(app.id)));
    this.etag = fresh.state.draft.etag;
    this.rev = fresh.state.draft.rev;
    this.logic = this.places = false;
    app.takeDocument(fresh.document, fresh.layout);
    app.gotState(fresh.state);
    app.gotCheck(fresh.check);
    this.tell('saved');
  }

  /** @param {'saved' | 'saving' | 'waiting' | 'failed'} state */
  tell(state) {
    if (state === this.state) return;
    this.state = state;
    this.app.drawSaved?.(state);
  }
}
