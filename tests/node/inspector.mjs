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

const browser = await open(executablePath);
try {
  const tab = await visitor(browser, []);
  const asked = [];
  tab.on('request', (request) => asked.push(`${request.method()} ${request.url()}`));
  const count = (start) => asked.filter((line) => line.startsWith(start)).length;

  await tab.goto(`${address}/?transport=streamable-http&serverUrl=${encodeURIComponent(server)}`);
  await tab.locator('#connection-type-select').click();
  await tab.getByRole('option', { name: 'Direct' }).click();
  await tab.getByRole('button', { name: 'Connect', exact: true }).click();
  await tab.locator('button[value="ada"]').click();
  await tab.getByText('localhost').first().waitFor();
  await tab.locator('button[value="allow"]').click();
  await tab.getByText('Connected').first().waitFor();
  assert.equal(new URL(tab.url()).origin, address);
  const gate = new URL(server).origin;
  assert.equal(count(`POST ${gate}/oauth2/register`), 1, asked.join('\n'));
  assert.equal(count(`POST ${gate}/oauth2/token`), 1);

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
