/** Links to an execution, for other browsers: they join it where it is. */

import { adviceFor } from './advice.js';
import * as api from './api.js';

/** Where a page shows an execution. The token is in the fragment, which no server ever sees. */
export function linkTo(id, token) {
  const link = new URL('/', location.href);
  link.searchParams.set('execution', id);
  if (token) link.hash = `token=${token}`;
  return link.href;
}

/** What a link asks for: a skill or an execution, and the token that reads it. */
export function readLink() {
  const asked = new URLSearchParams(location.search);
  const hidden = new URLSearchParams(location.hash.slice(1));
  return {
    skill: asked.get('skill'),
    execution: asked.get('execution'),
    token: hidden.get('token'),
  };
}

/** The button that shares what is watched, and the line below it. */
export function shareButton(page, current) {
  const [line, link, note] = ['#shared', '#link', '#link-note'].map((id) => page.querySelector(id));
  link.addEventListener('focus', () => link.select());
  page.querySelector('#share').addEventListener('click', async () => {
    const { id, token } = current();
    line.hidden = false;
    note.textContent = 'Making a link …';
    link.value = linkTo(id);
    const made = await tokenFor(id, token);
    if (current()?.id !== id) return;
    link.value = linkTo(id, made.token);
    const until = made.expires_at ? ` It works until ${timeOf(made.expires_at)}.` : '';
    const copied = await copy(link.value);
    note.textContent = `${made.problem ?? (copied ? 'Copied.' : 'Copy it from here.')}${until}`;
    if (!copied) link.focus();
  });
}

async function tokenFor(id, token) {
  try {
    return (await api.readToken(id)) ?? {};
  } catch (error) {
    // Who came by a link can pass that on.
    if (token) return { token };
    return { problem: `The link has no token: ${error.message} ${adviceFor(error.code)}` };
  }
}

/** Copy text; false where the browser does not let us. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function timeOf(ms) {
  const style = { hour: '2-digit', minute: '2-digit' };
  if (ms - Date.now() > 72_000_000) Object.assign(style, { day: 'numeric', month: 'short' });
  return new Intl.DateTimeFormat(undefined, style).format(ms);
}
