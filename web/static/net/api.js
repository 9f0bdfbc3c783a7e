// The server's JSON routes: one call, one answer, problems as errors with what and how to mend.

export class Problem extends Error {
  /** @param {number} status @param {any} body */
  constructor(status, body) {
    super(body?.detail || body?.title || `The server answered ${status}.`);
    this.status = status;
    this.slug = body?.slug ?? '';
    this.mend = body?.mend ?? '';
    this.body = body ?? {};
  }
}

export class Api {
  /** @param {string} base @param {string} csrf */
  constructor(base, csrf) {
    this.base = base;
    this.csrf = csrf;
  }

  /**
   * @param {string} method @param {string} path below the base
   * @param {{body?: any, etag?: string}} [how]
   * @returns {Promise<{data: any, etag: string}>}
   */
  async call(method, path, { body, etag } = {}) {
    /** @type {Record<string, string>} */
    const headers = { Accept: 'application/json' };
    if (method !== 'GET') headers['X-CSRF-Token'] = this.csrf;
    if (etag) headers['If-Match'] = etag;
    const written = method === 'GET' || (method === 'DELETE' && body === undefined) ? undefined : JSON.stringify(body ?? {});
    if (written !== undefined) headers['Content-Type'] = 'application/json';
    let answer;
    try {
      answer = await fetch(this.base + path, { method, headers, body: written, credentials: 'same-origin' });
    } catch {
      throw new Problem(0, { slug: 'no-connection', title: 'The server does not answer.', mend: 'Your changes are kept here until it does.' });
    }
    if (answer.status === 401) {
      location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    }
    const text = await answer.text();
    let data = null;
    try {
      data = text ? JSON.parse(text) : null;
    } catch {
      data = { title: `The server answered ${answer.status} and no JSON.` };
    }
    if (!answer.ok) throw new Problem(answer.status, data);
    return { data, etag: answer.headers.get('ETag') ?? '' };
  }

  /** @param {string} path */
  async get(path) {
    return (await this.call('GET', path)).data;
  }

  /** @param {string} path @param {any} [body] */
  async post(path, body) {
    return (await this.call('POST', path, { body })).data;
  }

  /** @param {string} id @param {string} [rest] */
  flow(id, rest = '') {
    return `/flows/${encodeURIComponent(id)}${rest}`;
  }
}
