// The account's page as its owner uses it, without scripts: pictures of it, then another device is signed out, then all
// others, then everywhere.
//
//   node account.mjs ADDRESS FOLDER CHROMIUM
import assert from 'node:assert/strict';
import { open, picture, visitor } from './pictures.mjs';

const [address, folder, executablePath] = process.argv.slice(2);
const browser = await open(executablePath);
const faults = [];

const device = async (userAgent) => {
  const page = await visitor(browser, faults, { javaScriptEnabled: false, ...(userAgent ? { userAgent } : {}) });
  await page.goto(`${address}/`);
  await page.waitForURL(`${address}/`);
  return page;
};
const isSignedIn = async (page) => {
  await page.goto(`${address}/oauth2/userinfo`);
  return (await page.content()).includes('ada-1815');
};

try {
  const mine = await device();
  const phone = await device('Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1');
  const laptop = await device('Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0');
  const script = await device('curl/8.14.1');

  await mine.goto(`${address}/oauth2/account`);
  assert.equal(await mine.locator('.sessions li').count(), 4);
  await picture(mine, folder, 'account');

  await mine.locator('.sessions li', { hasText: 'Safari on iPhone' }).getByRole('button').click();
  await mine.waitForURL(`${address}/oauth2/account`);
  assert.equal(await mine.locator('.sessions li').count(), 3);
  assert.ok(!(await isSignedIn(phone)) && (await isSignedIn(laptop)));

  await mine.getByRole('button', { name: 'Sign out all others' }).click();
  await mine.waitForURL(`${address}/oauth2/account`);
  assert.equal(await mine.locator('.sessions li').count(), 1);
  assert.ok(!(await isSignedIn(laptop)) && !(await isSignedIn(script)) && (await isSignedIn(mine)));
  await mine.goto(`${address}/oauth2/account`);
  await picture(mine, folder, 'account-alone');

  await mine.getByRole('button', { name: 'Sign out everywhere, here too' }).click();
  await mine.getByRole('heading', { name: 'Signed out' }).waitFor();
  assert.ok(!(await isSignedIn(mine)));
  assert.deepEqual(faults, []);
} finally {
  await browser.close();
}
