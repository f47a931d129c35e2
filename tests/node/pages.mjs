// Pages that no journey through the demo meets, each as a stranger finds it.
//
//   node pages.mjs FOLDER CHROMIUM NAME STATUS ADDRESS [NAME STATUS ADDRESS…]
import assert from 'node:assert/strict';
import { open, picture, visitor } from './pictures.mjs';

const [folder, executablePath, ...pages] = process.argv.slice(2);
const browser = await open(executablePath);
const faults = [];
try {
  for (let at = 0; at < pages.length; at += 3) {
    const [name, status, address] = pages.slice(at, at + 3);
    const page = await visitor(browser, faults);
    const answer = await page.goto(address);
    assert.equal(String(answer.status()), status, `${name} at ${page.url()}`);
    assert.ok(await page.getByRole('heading', { level: 1 }).isVisible(), `${name} says in one sentence what is up`);
    await picture(page, folder, name);
  }
  assert.deepEqual(faults, []);
} finally {
  await browser.close();
}
