// The npm library openid-client as an app that uses the gate as its OpenID provider: discovery, a login by PAR, ID token, userinfo, a
// renewal, an own token, and the sign-out. The user's browser is played. Arguments: the issuer, the client's id, and a file with its key.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import * as client from 'openid-client';
import { agree } from './agree.mjs';

const [issuer, id, file] = process.argv.slice(2);
const redirectUrl = 'http://127.0.0.1:33418/callback';
const left = 'http://127.0.0.1:33418/left';

const der = Buffer.from(readFileSync(file, 'utf8').replace(/-----[^-]+-----|\s/g, ''), 'base64');
const key = await crypto.subtle.importKey('pkcs8', der, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
const config = await client.discovery(
  new URL(issuer),
  id,
  { id_token_signed_response_alg: 'ES256' },
  client.PrivateKeyJwt(key),
  { execute: [client.allowInsecureRequests] },
);
assert.equal(config.serverMetadata().issuer, issuer);

const verifier = client.randomPKCECodeVerifier();
const [state, nonce] = [client.randomState(), client.randomNonce()];
const asked = await client.buildAuthorizationUrlWithPAR(config, {
  redirect_uri: redirectUrl,
  scope: 'openid profile email groups',
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  state,
  nonce,
});
assert.deepEqual([...asked.searchParams.keys()].sort(), ['client_id', 'request_uri']);

const jars = new Map();
const back = await agree(asked, redirectUrl, jars);
const tokens = await client.authorizationCodeGrant(config, back, {
  pkceCodeVerifier: verifier,
  expectedState: state,
  expectedNonce: nonce,
  idTokenExpected: true,
});
const claims = tokens.claims();
assert.equal(claims.sub, 'script:ada-1815');
assert.equal(claims.aud, id);
assert.ok(claims.sid && claims.at_hash);

const told = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
assert.equal(told.email, 'ada@example.com');
assert.equal(told.email_verified, true);
assert.equal(told.preferred_username, 'ada');

const again = await client.refreshTokenGrant(config, tokens.refresh_token);
assert.equal(again.claims().sub, claims.sub);
assert.equal(again.claims().nonce, undefined);
assert.equal((await client.tokenIntrospection(config, again.access_token)).active, true);

const own = await client.clientCredentialsGrant(config, { resource: `${issuer}/mcp` });
assert.equal(own.refresh_token, undefined);
await client.tokenRevocation(config, own.access_token);
assert.equal((await client.tokenIntrospection(config, own.access_token)).active, false);

const end = client.buildEndSessionUrl(config, {
  id_token_hint: tokens.id_token,
  post_logout_redirect_uri: left,
  state: 'bye',
});
const gone = await agree(end, left, jars);
assert.equal(gone.searchParams.get('state'), 'bye');
console.log('ok');
