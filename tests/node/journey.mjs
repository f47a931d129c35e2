// A person's journey through `sidegate demo` in Debian's Chromium: sign in, be greeted by name, hear the WebSocket's
// echo and the event clock, sign out, come back as somebody else. A picture of each page: light, dark, and on a phone.
//
//   node journey.mjs ADDRESS FOLDER CHROMIUM
import assert from 'node:assert/strict';
import { open, picture, visitor } from './pictures.mjs';

const [address, folder, executablePath] = process.argv.slice(2);
const browser = await open(executablePath);
const faults = [];

async function signIn(page, from, user) {
  await page.goto(`${address}${from}`);
  await page.locator(`button[value="${user}"]`).waitFor();
}

function step(text) {
  process.stdout.write(`${text}\n`);
}

try {
  const page = await visitor(browser, faults);
  step('an unknown visitor is led to the provider');
  await signIn(page, '/?from=journey', 'ada');
  assert.notEqual(new URL(page.url()).origin, new URL(address).origin);
  await picture(page, folder, 'provider');

  step('Ada is greeted by name, at the address she asked for');
  await page.locator('button[value="ada"]').click();
  await page.waitForURL(`${address}/?from=journey`);
  await page.getByText('Hello Ada Lovelace').waitFor();
  const headers = await page.locator('table').innerText();
  assert.match(headers, /x-user\s+ada/i);

  step('the session cannot be read by scripts');
  assert.equal(await page.evaluate(() => document.cookie), '');

  step('the WebSocket echoes');
  await page.waitForFunction(() => document.getElementById('echo-state').textContent === 'live');
  await page.locator('#echo-text').fill('a word from the journey');
  await page.locator('#echo button').click();
  await page.locator('#echo-log', { hasText: '← a word from the journey' }).waitFor();

  step('the clock ticks');
  const first = await page.waitForFunction(() => {
    const text = document.getElementById('clock').textContent;
    return /\d/.test(text) && text;
  });
  const time = await first.jsonValue();
  await page.waitForFunction((before) => document.getElementById('clock').textContent !== before, time);
  await picture(page, folder, 'app');

  step('a reload and the back button are harmless');
  await page.reload();
  await page.getByText('Hello Ada Lovelace').waitFor();
  await page.goBack();
  await page.goto(`${address}/`);
  await page.getByText('Hello Ada Lovelace').waitFor();

  step('a script of the page is let in with the session, and told 401 without');
  const status = (init) => page.evaluate(async (given) => (await fetch('/headers', given)).status, init);
  assert.equal(await status({}), 200);
  assert.equal(await status({ credentials: 'omit' }), 401);

  step('signing out ends it');
  await page.getByRole('link', { name: 'Sign out' }).click();
  await page.waitForLoadState('networkidle');
  await picture(page, folder, 'signed-out');

  step('Grace comes after Ada in the same browser');
  await signIn(page, '/', 'grace');
  await page.locator('button[value="grace"]').click();
  await page.getByText('Hello Grace Hopper').waitFor();

  step('a public page needs no login');
  const stranger = await visitor(browser, faults);
  await stranger.goto(`${address}/public/`);
  assert.equal(new URL(stranger.url()).pathname, '/public/');
  await picture(stranger, folder, 'public');

  step('our own pages work without JavaScript');
  const plain = await visitor(browser, faults, { javaScriptEnabled: false });
  await signIn(plain, '/', 'ada');
  await plain.locator('button[value="ada"]').click();
  await plain.getByText('Hello Ada Lovelace').waitFor();

  step('error pages are fit to be seen');
  const lost = await visitor(browser, faults);
  const answer = await lost.goto(`${address}/oauth2/callback/demo?code=x&state=y`);
  assert.ok(answer.status() >= 400 && answer.status() < 500, `${answer.status()}`);
  await picture(lost, folder, 'error');
  const nowhere = await lost.goto(`${address}/oauth2/nothing`);
  assert.equal(nowhere.status(), 404);
  await picture(lost, folder, 'not-found');

  assert.deepEqual(faults, []);
  step('done');
} finally {
  await browser.close();
}
