// A page of another site with ninety hidden frames of the gate, as its visitor's Chromium loads them; then the visitor signs
// in. Everything comes from one address, as a trusted proxy says.
//
//   node frames.mjs ADDRESS CHROMIUM CLIENT
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { open } from './pictures.mjs';

const FRAMES = 90;
const [address, executablePath, client] = process.argv.slice(2);
const { host } = new URL(address);
// Another site: browsers know `localhost` and 127.0.0.1 apart.
const page = Array.from({ length: FRAMES }, (_, number) => `<iframe hidden src="${address}/page/${number}"></iframe>`).join('');
const server = createServer((request, response) => response.end(`<!doctype html><title>Elsewhere</title>${page}`));
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));

const browser = await open(executablePath);
try {
  const context = await browser.newContext({ extraHTTPHeaders: { 'x-forwarded-for': client } });
  const visitor = await context.newPage();
  const statuses = [];
  visitor.on('response', (answer) => {
    if (new URL(answer.url()).host === host) statuses.push(answer.status());
  });
  // However slow the machine: a pause of the network does not mean that all have asked.
  await visitor.goto(`http://localhost:${server.address().port}/`, { timeout: 80_000 });
  for (let waited = 0; statuses.length < FRAMES && waited < 10_000; waited += 100) {
    await new Promise((later) => setTimeout(later, 100));
  }
  assert.equal(statuses.length, FRAMES, 'each frame asked the gate, and none was led on');
  assert.ok(statuses.every((status) => status === 401), `${statuses}`);

  const answer = await visitor.goto(`${address}/page`);
  assert.equal(answer.status(), 200, visitor.url());
  assert.equal(visitor.url(), `${address}/page`);
} finally {
  await browser.close();
  server.close();
}
