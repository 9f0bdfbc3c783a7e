// The login page: name and password, or the token of the one-time link behind the "#".

const page = JSON.parse(document.getElementById('page')?.textContent ?? '{}');
const form = /** @type {HTMLFormElement} */ (document.getElementById('login'));
const fault = /** @type {HTMLElement} */ (document.getElementById('fault'));
const wait = /** @type {HTMLElement} */ (document.getElementById('wait'));

/** @param {string} path @param {object} body */
async function post(path, body) {
  const answer = await fetch(page.base + path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (answer.ok) {
    location.replace(page.next || '/');
    return;
  }
  const problem = await answer.json().catch(() => ({}));
  const told = [problem.detail || problem.title || 'The server did not answer.', problem.mend];
  fault.textContent = told.filter(Boolean).join(' ');
  fault.hidden = false;
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  fault.hidden = true;
  const given = new FormData(form);
  const button = /** @type {HTMLButtonElement} */ (form.querySelector('button'));
  button.disabled = true;
  try {
    await post('/session', { name: given.get('username'), password: given.get('password') });
  } catch {
    fault.textContent = 'The server did not answer. Is flowengine still running?';
    fault.hidden = false;
  } finally {
    button.disabled = false;
  }
});

const first = new URLSearchParams(location.hash.slice(1)).get('first');
if (first) {
  history.replaceState(null, '', location.pathname + location.search);
  wait.hidden = false;
  post('/session/first', { token: first }).finally(() => {
    wait.hidden = true;
  });
}
