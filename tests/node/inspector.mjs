// MCP Inspector in a real Chromium, in direct mode: its page speaks with the server, and with the gate, from another origin. It registers, its
// user signs in at the demo's provider and agrees, and it calls a tool.
//
//   node inspector.mjs SERVER CHROMIUM
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { open, visitor } from './pictures.mjs';

const [server, executablePath] = process.argv.slice(2);
const files = fileURLToPath(new URL('node_modules/@modelcontextprotocol/inspector-client/dist', import.meta.url));
const kinds = { '.css': 'text/css', '.html': 'text/html', '.js': 'text/javascript', '.svg': 'image/svg+xml' };

// Its files as its own server serves them: every other address is the page's own.
const inspector = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  const wanted = path.join(files, path.normalize(pathname));
  const file = kinds[path.extname(wanted)] ? wanted : path.join(files, 'index.html');
  try {
    response.setHeader('content-type', kinds[path.extname(file)]);
    response.end(await readFile(file));
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((ready) => inspector.listen(0, 'localhost', ready));
const address = `http://localhost:${inspector.address().port}`;

// A page that has connected, and what it asked for. The Inspector authorizes a second time when it has sent its user away already. On a
// slow machine it now and then replaces its verifier before it has left, and the gate rightly refuses the code: it is tried anew.
async function connected(gate, attempt) {
  const tab = await visitor(browser, []);
  const asked = [];
  tab.on('request', (request) => asked.push(`${request.method()} ${request.url()}`));
  await tab.goto(`${address}/?transport=streamable-http&serverUrl=${encodeURIComponent(server)}`);
  await tab.locator('#connection-type-select').click();
  await tab.getByRole('option', { name: 'Direct' }).click();
  await tab.getByRole('button', { name: 'Connect', exact: true }).click();
  await tab.locator('button[value="ada"]').click();
  await tab.getByText('localhost').first().waitFor();
  const exchanged = tab.waitForResponse(
    (answer) => answer.url() === `${gate}/oauth2/token` && answer.request().method() === 'POST',
  );
  await tab.locator('button[value="allow"]').click();
  const answer = await exchanged;
  if (answer.status() === 400 && attempt < 3) return connected(gate, attempt + 1);
  assert.equal(answer.status(), 200, asked.join('\n'));
  await tab.getByText('Connected', { exact: true }).first().waitFor();
  return { tab, asked };
}

const browser = await open(executablePath);
try {
  const gate = new URL(server).origin;
  const { tab, asked } = await connected(gate, 1);
  const count = (start) => asked.filter((line) => line.startsWith(start)).length;
  assert.equal(new URL(tab.url()).origin, address);
  assert.equal(count(`POST ${gate}/oauth2/register`), 1, asked.join('\n'));
  assert.equal(count(`POST ${gate}/oauth2/token`), 1, asked.join('\n'));

  await tab.getByRole('tab', { name: 'Tools' }).click();
  const list = tab.getByRole('button', { name: 'List Tools' });
  if (await list.isEnabled()) await list.click();
  await tab.getByText('whoami', { exact: true }).first().click();
  const answered = tab.waitForResponse((answer) => answer.request().postData()?.includes('tools/call'));
  await tab.getByRole('button', { name: 'Run Tool' }).click();
  assert.equal((await answered).status(), 200);
  await tab.getByText('Ada').first().waitFor();
} finally {
  await browser.close();
  inspector.close();
}
