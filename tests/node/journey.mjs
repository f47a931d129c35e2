// A person's journey through `sidegate demo` in Debian's Chromium: sign in, be greeted by name, hear the WebSocket's
// echo and the event clock, sign out, come back as somebody else. A picture of each page: light, dark, and on a phone.
//
//   node journey.mjs ADDRESS FOLDER CHROMIUM
import assert from 'node:assert/strict';
import path from 'node:path';
import { chromium } from 'playwright-core';

const [address, folder, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--disable-dev-shm-usage',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});

const faults = [];

async function visitor(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 800 }, colorScheme: 'light', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  page.on('pageerror', (error) => faults.push(`${page.url()}: ${error}`));
  page.on('console', (message) => {
    // A policy that blocks the page's own style or script is a fault of ours.
    if (/content.security.policy/i.test(message.text())) faults.push(`${page.url()}: ${message.text()}`);
  });
  return page;
}

async function picture(page, name) {
  const wide = page.viewportSize();
  for (const [suffix, colorScheme, width] of [['light', 'light', 1000], ['dark', 'dark', 1000], ['phone', 'light', 390]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 800 });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(overflow <= 0, `${name} is ${overflow} pixels too wide at ${width}`);
    await page.screenshot({ path: path.join(folder, `${name}-${suffix}.png`), fullPage: true });
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(wide);
}

async function signIn(page, from, user) {
  await page.goto(`${address}${from}`);
  await page.locator(`button[value="${user}"]`).waitFor();
}

function step(text) {
  process.stdout.write(`${text}\n`);
}

try {
  const page = await visitor();
  step('an unknown visitor is led to the provider');
  await signIn(page, '/?from=journey', 'ada');
  assert.notEqual(new URL(page.url()).origin, new URL(address).origin);
  await picture(page, 'provider');

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
  await picture(page, 'app');

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
  await picture(page, 'signed-out');

  step('Grace comes after Ada in the same browser');
  await signIn(page, '/', 'grace');
  await page.locator('button[value="grace"]').click();
  await page.getByText('Hello Grace Hopper').waitFor();

  step('a public page needs no login');
  const stranger = await visitor();
  await stranger.goto(`${address}/public/`);
  assert.equal(new URL(stranger.url()).pathname, '/public/');
  await picture(stranger, 'public');

  step('our own pages work without JavaScript');
  const plain = await visitor({ javaScriptEnabled: false });
  await signIn(plain, '/', 'ada');
  await plain.locator('button[value="ada"]').click();
  await plain.getByText('Hello Ada Lovelace').waitFor();

  step('error pages are fit to be seen');
  const lost = await visitor();
  const answer = await lost.goto(`${address}/oauth2/callback/demo?code=x&state=y`);
  assert.ok(answer.status() >= 400 && answer.status() < 500, `${answer.status()}`);
  await picture(lost, 'error');
  const nowhere = await lost.goto(`${address}/oauth2/nothing`);
  assert.equal(nowhere.status(), 404);
  await picture(lost, 'not-found');

  assert.deepEqual(faults, []);
  step('done');
} finally {
  await browser.close();
}
