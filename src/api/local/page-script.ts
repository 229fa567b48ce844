// What does the page that sets a password do? It runs in a browser, and knows nothing of what is around it.
//
// The link's token is behind the `#`: no server and no proxy sees it, and it is gone from the address bar before anything else happens.
// Nothing is asked until somebody presses a button, so whoever only opens links (a mail scanner) uses none up. What is asked is
// relative to the page, which may be served below any prefix.

import { MOST_CHARACTERS } from './passwords.ts';

export const PAGE_SCRIPT = String.raw`'use strict';
{
  const at = (id) => document.getElementById(id);
  const MOST = ${MOST_CHARACTERS};
  const least = Number(at('set').dataset.least);
  const forms = { set: at('set'), again: at('again') };
  const mails = forms.again !== null;
  let token = '';
  let busy = false;

  const show = (name) => {
    for (const [each, form] of Object.entries(forms)) if (form !== null) form.hidden = each !== name;
  };
  const say = (words) => {
    at('said').textContent = words;
  };
  /** The field that had the focus is gone. */
  const end = (words) => {
    say(words);
    at('said').focus();
  };
  const wrong = (id, words) => {
    at(id + '-wrong').textContent = words;
    at(id).toggleAttribute('aria-invalid', false);
    if (words !== '') at(id).setAttribute('aria-invalid', 'true');
  };
  /** Told next to each field, and the first is where one goes on. */
  const refused = (problems) => {
    const [first] = Object.keys(problems).filter((id) => problems[id] !== '');
    for (const id of Object.keys(problems)) wrong(id, problems[id]);
    if (first !== undefined) at(first).focus();
    return first !== undefined;
  };
  const noLink = (words) => {
    token = '';
    show(mails ? 'again' : '');
    return words + (mails ? ' Have another one sent to you:' : ' Ask your administrator for another one.');
  };

  const read = () => {
    const given = new URLSearchParams(location.hash.slice(1)).get('token');
    // Of its own page alone, so that going back does not bring it back.
    history.replaceState(null, '', location.pathname + location.search);
    if (given === null) return;
    token = given;
    for (const id of ['password', 'repeated']) at(id).value = '';
    refused({ password: '', repeated: '' });
    say('');
    show('set');
  };

  const ask = async (path, body, more = {}) => {
    const init = { method: 'POST', headers: { 'content-type': 'application/json', ...more }, body: JSON.stringify(body), signal: AbortSignal.timeout(30_000) };
    const answer = await fetch(path, init);
    const told = await answer.json().catch(() => ({}));
    return { ok: answer.ok, status: answer.status, wait: answer.headers.get('retry-after'), told };
  };
  const later = (wait) => 'This is not possible just now. Try again in ' + (/^\d+$/.test(wait ?? '') ? wait + ' s.' : 'a minute.');

  /** One at a time; the form stays as it is, and whoever reads it where it was. */
  const sending = (form, send) =>
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (busy) return;
      busy = true;
      form.setAttribute('aria-busy', 'true');
      try {
        await send();
      } catch {
        say('The server cannot be reached. Try again.');
      } finally {
        busy = false;
        form.removeAttribute('aria-busy');
      }
    });

  sending(forms.set, async () => {
    const password = at('password').value;
    const length = [...password.normalize('NFC')].length;
    const short = length < least ? 'It has ' + length + ' characters, and must have ' + least + ' at least.' : '';
    const long = length > MOST ? 'It must have ' + MOST + ' characters at most.' : '';
    const different = at('repeated').value !== password ? 'It is not the same as the first one.' : '';
    say('');
    if (refused({ password: short || long, repeated: different })) return;
    const { ok, status, wait, told } = await ask('activate', { token, password });
    // Done, if perhaps not seen everywhere yet.
    if (ok || told.code === 'unconfirmed') {
      token = '';
      show('');
      end('Your password is set. You can log in with it now.');
      // The session that comes with it is nobody's: this page keeps nothing.
      if (typeof told.accessToken === 'string') await ask('logout', {}, { authorization: 'Bearer ' + told.accessToken }).catch(() => undefined);
    } else if (told.reason === 'bad-link') end(noLink('This link was used already, or its time is over, or there is a newer one.'));
    else if (told.field === 'password') refused({ password: 'It ' + String(told.detail).replace(/^password: /, '') + '.', repeated: '' });
    else say(status === 429 || status >= 500 ? later(wait) : 'It is refused: ' + told.detail);
  });

  if (mails)
    sending(forms.again, async () => {
      const email = at('email').value.trim();
      const none = at('email').validity.valid && email !== '' ? '' : 'Give the e-mail of your account, as anna@example.org.';
      say('');
      if (refused({ email: none })) return;
      const { ok, status, wait, told } = await ask('forgotten', { email });
      if (ok) {
        show('');
        end('If there is an account with this e-mail, a mail is on its way to it.');
      } else if (status === 429 || status >= 500) say(later(wait));
      else refused({ email: 'It ' + String(told.detail).replace(/^email: /, '') + '.' });
    });

  at('shown').addEventListener('change', ({ target }) => {
    for (const id of ['password', 'repeated']) at(id).type = target.checked ? 'text' : 'password';
  });
  // Another link that is opened in this tab loads no page.
  window.addEventListener('hashchange', read);
  read();
  if (token === '') say(noLink('This page is opened by the link to set a password, and the link is not here.'));
}
`;
