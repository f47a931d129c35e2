// Two apps on two hosts with one login, as a person's Chromium meets them: signed in at one, known at the other, signed out
// of both.
//
//   node several_apps.mjs LOGIN APP WIKI CHROMIUM
import assert from 'node:assert/strict';
import { open, visitor } from './pictures.mjs';

const [login, app, wiki, executablePath] = process.argv.slice(2);
const browser = await open(executablePath, ['--host-resolver-rules=MAP *.example.test 127.0.0.1']);
const faults = [];
const user = async (page) => JSON.parse(await page.locator('body').innerText()).headers.find(([name]) => name === 'x-user')?.[1];

try {
  const page = await visitor(browser, faults);
  const hosts = [];
  page.on('request', (request) => { if (request.isNavigationRequest()) hosts.push(new URL(request.url()).origin); });
  await page.goto(`${app}/page?x=1`);
  assert.equal(page.url(), `${app}/page?x=1`, 'the login comes back to where it was for');
  assert.ok(hosts.includes(login), `and was at the one host for logins: ${hosts}`);
  assert.equal(await user(page), 'ada');

  hosts.length = 0;
  await page.goto(`${wiki}/page`);
  assert.deepEqual(hosts, [wiki], 'at the other app nobody is led anywhere');
  assert.equal(await user(page), 'ada');

  const cookies = await page.context().cookies();
  const shared = cookies.filter((cookie) => cookie.domain.startsWith('.')).map((cookie) => cookie.name);
  assert.ok(shared.includes('sidegate'), `${shared}`);
  assert.ok(!shared.includes('sidegate_login'), 'what belongs to a login is one host\'s');

  await page.goto(`${wiki}/oauth2/sign_out`);
  for (const address of [app, wiki, login]) {
    await page.goto(`${address}/oauth2/userinfo`);
    assert.match(await page.content(), /Nobody is signed in/, address);
  }
  assert.deepEqual(faults, []);
} finally {
  await browser.close();
}
