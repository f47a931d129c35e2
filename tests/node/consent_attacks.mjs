// What others try with the page of consent, in a real Chromium: a frame around it, forms of another site, its form in another
// browser. Then its reader says yes.
//
//   node consent_attacks.mjs ADDRESS CHROMIUM AUTHORIZE
//
// AUTHORIZE leads back to port 33418 of this machine, in whose place stands the port that is listened on here.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { open } from './pictures.mjs';

const [address, executablePath, asked] = process.argv.slice(2);
const CONSENT = `${address}/oauth2/authorize/consent`;

const listen = async (answer) => {
  const server = createServer(answer);
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return { server, port: server.address().port };
};

const came = [];
const client = await listen((request, response) => {
  if (request.url.startsWith('/callback')) came.push(request.url);
  response.end('<!doctype html><title>Client</title>');
});
const authorize = address + asked.replace('33418', client.port);
let evil = '';
// Another site: browsers know `localhost` and 127.0.0.1 apart.
const other = await listen((_, response) => {
  response.setHeader('content-type', 'text/html');
  response.end(`<!doctype html><title>Elsewhere</title>${evil}`);
});
const elsewhere = `http://localhost:${other.port}/`;

const form = (consent) => `<form method="post" action="${CONSENT}"><input name="consent" value="${consent}"><input name="decision" value="allow"></form>`;
const answered = (page) => page.waitForResponse((answer) => answer.url() === CONSENT);

const browser = await open(executablePath);
try {
  const context = await browser.newContext();
  const owner = await context.newPage();
  await owner.goto(authorize);
  const consent = await owner.inputValue('input[name=consent]');
  assert.ok(consent.length > 100, owner.url());

  // In a frame it is not shown, and so nobody is led to press its button.
  evil = `<iframe src="${authorize.replaceAll('&', '&amp;')}"></iframe>`;
  const framing = await context.newPage();
  await framing.goto(elsewhere, { waitUntil: 'networkidle' });
  for (const frame of framing.frames().slice(1)) {
    assert.equal(await frame.locator('input[name=consent]').count(), 0, frame.url());
  }

  // A form of another site, even one that knows what is asked.
  evil = `${form(consent)}<script>document.forms[0].submit()</script>`;
  const forging = await context.newPage();
  const forged = answered(forging);
  await forging.goto(elsewhere).catch(() => {});
  assert.equal((await forged).status(), 401, 'its cookies stay away');

  // A script of another site, with the cookies that its visitor has.
  evil = '';
  await forging.goto(elsewhere);
  await forging.evaluate(
    ([action, body]) => fetch(action, { method: 'POST', mode: 'no-cors', credentials: 'include', body: new URLSearchParams(body) }).catch(() => {}),
    [CONSENT, { consent, decision: 'allow' }],
  );

  // Another browser, signed in, from a page of the gate's own: what was asked was asked of somebody else.
  const second = await browser.newContext();
  const thief = await second.newPage();
  await thief.goto(authorize);
  const theirs = await thief.inputValue('input[name=consent]');
  await thief.evaluate((stolen) => { document.querySelector('input[name=consent]').value = stolen; }, consent);
  const taken = answered(thief);
  await thief.click('button[value=allow]');
  assert.equal((await taken).status(), 403);
  assert.notEqual(theirs, consent);

  assert.deepEqual(came, [], 'no code was given to anybody');
  const grants = async () => (await (await context.request.get(`${address}/oauth2/account/grants`, { headers: { accept: 'application/json' } })).json()).grants;
  assert.deepEqual(await grants(), []);

  await owner.click('button[value=allow]');
  await owner.waitForURL((url) => url.port === String(client.port));
  assert.equal(came.length, 1);
  const back = new URL(came[0], 'http://127.0.0.1');
  assert.ok(back.searchParams.get('code')?.startsWith('sgc_'), came[0]);
  assert.equal(back.searchParams.get('iss'), address);
} finally {
  await browser.close();
  client.server.close();
  other.server.close();
}
