// Signs in once at each provider of a gate, through its chooser and the provider's own page, and is turned away by the
// last one. Pictures of the chooser, of the chooser for somebody who comes back, and of the page that turns away.
//
//   node providers.mjs ADDRESS FOLDER CHROMIUM DENYING NAME=ID [NAME=ID…]
import assert from 'node:assert/strict';
import { open, picture, visitor } from './pictures.mjs';

const [address, folder, executablePath, denying, ...providers] = process.argv.slice(2);
const browser = await open(executablePath);
const faults = [];

async function choose(page, name) {
  await page.locator(`a.choice[href^="/oauth2/start/${name}?"]`).click();
  await page.getByRole('button', { name: 'Agree' }).click();
}

function step(text) {
  process.stdout.write(`${text}\n`);
}

try {
  const stranger = await visitor(browser, faults);
  await stranger.goto(`${address}/deep?x=1`);
  await stranger.locator('a.choice').first().waitFor();
  assert.equal(await stranger.locator('a.choice').count(), providers.length + 1);
  await picture(stranger, folder, 'chooser');

  for (const provider of providers) {
    const [name, id] = provider.split('=');
    step(`${name}: in through the chooser`);
    const page = await visitor(browser, faults);
    await page.goto(`${address}/deep?x=1`);
    await choose(page, name);
    await page.waitForURL(`${address}/deep?x=1`);
    const seen = JSON.parse(await page.locator('pre').innerText());
    const headers = Object.fromEntries(seen.headers);
    assert.equal(headers['x-user-id'], `${name}:${id}`);
    assert.equal(await page.evaluate(() => document.cookie), '', 'no cookie of ours is for scripts');

    step(`${name}: comes first for whoever comes back`);
    await page.goto(`${address}/oauth2/sign_in?switch=1&rd=%2Fdeep`);
    assert.match(await page.locator('a.choice').first().getAttribute('href'), new RegExp(`/start/${name}\\?`));
    if (provider === providers.at(-1)) await picture(page, folder, 'chooser-again');
    await page.context().close();
  }

  step(`${denying}: turned away, in the operator's words`);
  await choose(stranger, denying);
  await stranger.getByText('Only people of the campus may come in. Ask pedago@campus.example.').waitFor();
  await picture(stranger, folder, 'denied');
  // 42 cannot be asked for another account, so none is promised.
  await stranger.getByText('To use another account, sign out there first.').waitFor();
  await stranger.getByRole('link', { name: 'Sign in again' }).click();
  await stranger.getByRole('button', { name: 'Agree' }).waitFor();

  assert.deepEqual(faults, []);
  step('done');
} finally {
  await browser.close();
}
