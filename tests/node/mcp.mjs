// The real TypeScript SDK of the Model Context Protocol against a gate: from 401 to a tool call, and through a renewal. The user's
// browser is played below. Arguments: the address of the MCP server, and a client ID metadata document's where registration is not wanted.
import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { agree } from './agree.mjs';

const [server, document] = process.argv.slice(2);
const redirectUrl = 'http://127.0.0.1:33418/callback';

class Provider {
  get redirectUrl() { return redirectUrl; }
  get clientMetadataUrl() { return document; }
  get clientMetadata() {
    return { client_name: 'TypeScript SDK', redirect_uris: [redirectUrl], token_endpoint_auth_method: 'none' };
  }
  state() { return 'a state'; }
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.given; }
  saveTokens(tokens) { this.given = tokens; this.times = (this.times ?? 0) + 1; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  async redirectToAuthorization(url) { this.asked = url; }
}

const provider = new Provider();
const transport = () => new StreamableHTTPClientTransport(new URL(server), { authProvider: provider });
const client = () => new Client({ name: 'probe', version: '1' });

let first = transport();
await assert.rejects(client().connect(first), UnauthorizedError);
assert.equal(provider.asked.searchParams.get('resource').replace(/\/$/, ''), server.replace(/\/$/, ''));
if (document) assert.equal(provider.client.client_id, document);

const back = await agree(provider.asked, redirectUrl);
assert.equal(back.searchParams.get('state'), 'a state');
assert.equal(back.searchParams.get('iss'), new URL(server).origin);
await first.finishAuth(back.searchParams.get('code'));
assert.equal(provider.times, 1);

const session = client();
await session.connect(transport());
const called = async () => (await session.callTool({ name: 'whoami', arguments: {} })).content[0].text;
assert.match(await called(), /Ada/);

// What an access token that has ended brings: a renewal, and nobody is asked.
const refresh = provider.given.refresh_token;
provider.given = { ...provider.given, access_token: 'sga_over' };
provider.asked = undefined;
assert.match(await called(), /Ada/);
assert.equal(provider.times, 2);
assert.notEqual(provider.given.refresh_token, refresh);
assert.equal(provider.asked, undefined);
await session.close();
console.log('ok');
