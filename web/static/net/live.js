// The one socket of a tab: topics subscribed while someone looks, connected again when it breaks.

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

export class Live {
  /** @param {string} base as "/api/v1" */
  constructor(base) {
    const url = new URL(`${base}/live`, location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    this.url = url.href;
    /** @type {Map<string, Set<(data: any) => void>>} */
    this.topics = new Map();
    /** @type {Set<(up: boolean) => void>} */
    this.watchers = new Set();
    /** @type {WebSocket | null} */
    this.socket = null;
    this.wait = FIRST_WAIT;
    this.server = '';
    this.client = '';
    this.up = false;
    this.closed = false;
  }

  open() {
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.addEventListener('open', () => {
      this.wait = FIRST_WAIT;
      this.tell(true);
      for (const topic of this.topics.keys()) if (!isLocal(topic)) this.send({ op: 'sub', topic });
    });
    socket.addEventListener('message', (event) => this.hear(event.data));
    socket.addEventListener('close', (event) => {
      this.tell(false);
      if (event.code === 4401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
      else if (!this.closed && event.code !== 4403) this.again();
    });
  }

  again() {
    // Spread out, so that a hundred tabs do not come back in one moment.
    const wait = this.wait * (0.75 + Math.random() / 2);
    this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
    setTimeout(() => this.open(), wait);
  }

  close() {
    this.closed = true;
    this.socket?.close();
  }

  /** @param {string} text */
  hear(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.t === 'hello') {
      const restarted = this.server !== '' && this.server !== frame.d?.server;
      this.server = frame.d?.server ?? '';
      this.client = frame.d?.client ?? '';
      if (restarted) this.give('restarted', frame.d);
    } else if (frame.t === 'lost') {
      this.give(`lost:${frame.topic}`, frame.n);
    } else {
      this.give(frame.t, frame.d);
    }
  }

  /** @param {string} topic @param {any} data */
  give(topic, data) {
    for (const listener of this.topics.get(topic) ?? []) listener(data);
  }

  /** @param {any} frame */
  send(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  /**
   * Listen to a topic; `restarted` and `lost:TOPIC` are heard without asking the server.
   * @param {string} topic @param {(data: any) => void} listener
   * @returns {() => void} stops
   */
  sub(topic, listener) {
    let listeners = this.topics.get(topic);
    const local = isLocal(topic);
    if (!listeners) {
      this.topics.set(topic, (listeners = new Set()));
      if (!local) this.send({ op: 'sub', topic });
    }
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
      if (listeners.size || this.topics.get(topic) !== listeners) return;
      this.topics.delete(topic);
      if (!local) this.send({ op: 'unsub', topic });
    };
  }

  /** @param {boolean} up */
  tell(up) {
    this.up = up;
    for (const watcher of this.watchers) watcher(up);
  }
}

/** What this side tells itself. @param {string} topic */
function isLocal(topic) {
  return topic === 'restarted' || topic.startsWith('lost:');
}
