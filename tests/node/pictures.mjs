// Chromium, and a picture of a page in light, in dark and on a phone.
import assert from 'node:assert/strict';
import path from 'node:path';
import { chromium } from 'playwright-core';

// Nothing that would look for a network.
export const open = (executablePath, more = []) => chromium.launch({
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
    ...more,
  ],
});

// A page of a visitor that nobody knows yet. What goes wrong inside it is added to `faults`.
export async function visitor(browser, faults, options = {}) {
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

export async function picture(page, folder, name) {
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
