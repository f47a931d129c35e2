// A real OpenID provider (npm `oidc-provider`) for the tests, strict where it can be: PKCE required, refresh tokens
// rotated, claims of scopes only at userinfo, logout at the provider on. Prints one JSON line with its issuer when it
// listens, and ends when its standard input does, so that it never outlives the tests.
//
// ACCESS_TOKEN_SECONDS is how long its access tokens last. A refresh token that is used twice ends everything that came
// of it. `/_token_requests` counts; `/_slow?ms=N` makes renewals take so long from then on.
//
// It exchanges tokens (RFC 8693) for the services `orders` and `stock`. `/_exchanges` counts, and tells the last token that was
// exchanged; `?seconds=N` says how long what it gives lasts, and `?refuse=CODE` that it gives none.
import http from 'node:http';
import Provider, { errors } from 'oidc-provider';

const users = {
  ada: {
    sub: 'ada',
    email: 'ada@example.com',
    email_verified: true,
    name: 'Ada Lovelace',
    preferred_username: 'ada',
    groups: ['engineers', 'admins'],
  },
  bob: {
    sub: 'bob',
    email: 'bob@example.org',
    email_verified: false,
    name: 'Bob "Zoë" <b>',
    preferred_username: 'bob',
    groups: [],
  },
};

const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
let tokenRequests = 0;
let refusals = 0;
let slowness = 0;
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const exchanges = { count: 0, subject: null, seconds: 300, refuse: '' };
const accessTokenSeconds = Number(process.env.ACCESS_TOKEN_SECONDS ?? 300);

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'sidegate',
      client_secret: 'npm-client-secret',
      // A loopback redirect URI of a native client may have any port (RFC 8252 §7.3), which the tests' gates need.
      application_type: 'native',
      token_endpoint_auth_method: 'client_secret_basic',
      grant_types: ['authorization_code', 'refresh_token', EXCHANGE],
      response_types: ['code'],
      redirect_uris: ['http://127.0.0.1/oauth2/callback/npm'],
      post_logout_redirect_uris: ['http://127.0.0.1/', 'http://127.0.0.1/oauth2/sign_out'],
    },
    {
      client_id: 'told',
      client_secret: 'npm-client-secret',
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['http://127.0.0.1/oauth2/callback/npm'],
      backchannel_logout_uri: 'http://127.0.0.1/oauth2/backchannel_logout/npm',
      backchannel_logout_session_required: true,
    },
    {
      client_id: 'cli',
      client_secret: 'npm-client-secret',
      grant_types: ['authorization_code', 'client_credentials'],
      scope: 'openid profile email groups read',
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/done'],
    },
  ],
  scopes: ['openid', 'offline_access', 'read'],
  cookies: { keys: ['only for tests'] },
  pkce: { required: () => true, methods: ['S256'] },
  rotateRefreshToken: true,
  acrValues: ['tin', 'gold'],
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username'],
    groups: ['groups'],
  },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => page(ctx, `${form}<button form="op.logoutForm" name="logout" value="yes">Sign out</button>`),
    },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => (users[id] ? { accountId: id, claims: () => users[id] } : undefined),
  ttl: { Session: 3600, Grant: 3600, Interaction: 600, AccessToken: accessTokenSeconds, IdToken: 300, RefreshToken: 3600 },
});

provider.registerGrantType(EXCHANGE, async (ctx, next) => {
  exchanges.count += 1;
  const { client, params } = ctx.oidc;
  exchanges.subject = params.subject_token;
  if (exchanges.refuse === 'down') ctx.throw(503);
  if (exchanges.refuse) throw new errors.CustomOIDCProviderError(exchanges.refuse, 'it was told to');
  if (params.subject_token_type !== ACCESS_TOKEN || params.requested_token_type !== ACCESS_TOKEN) {
    throw new errors.InvalidRequest('access tokens alone are exchanged');
  }
  const subject = await provider.AccessToken.find(params.subject_token);
  if (!subject) throw new errors.InvalidGrant('no such token');
  if (!['orders', 'stock'].includes(params.audience)) throw new errors.InvalidTarget('no such service');
  const token = new provider.AccessToken({
    client, accountId: subject.accountId, grantId: subject.grantId, scope: params.scope, expiresIn: exchanges.seconds,
  });
  token.resourceServer = new provider.ResourceServer(params.audience, {
    audience: params.audience, scope: 'read write', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
  });
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: ACCESS_TOKEN,
    token_type: token.tokenType,
    expires_in: token.expiration,
    scope: token.scope,
  };
  await next();
}, ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'resource', 'scope']);

provider.on('grant.error', () => { refusals += 1; });

// The one port-free part that native clients lack: addresses to return to after logout.
provider.Client.prototype.postLogoutRedirectUriAllowed = function allowed(value) {
  const asked = new URL(value);
  return asked.hostname === '127.0.0.1' && this.postLogoutRedirectUris.includes(`http://127.0.0.1${asked.pathname}`);
};

// The same for where the client that is told of logouts listens: `/_told?port=` says.
let toldPort;
const tell = provider.Client.prototype.backchannelLogout;
provider.Client.prototype.backchannelLogout = function told(...args) {
  this.backchannelLogoutUri = `http://127.0.0.1:${toldPort}/oauth2/backchannel_logout/npm`;
  return tell.apply(this, args);
};

function page(ctx, body) {
  ctx.type = 'html';
  ctx.body = `<!doctype html><title>provider</title><body>${body}`;
}

// The interaction: a page that names the users, then the chosen one is logged in and everything asked is granted. `age`
// says how many seconds ago, and `acr` how.
provider.use(async (ctx, next) => {
  if (ctx.path === '/_told') {
    toldPort = ctx.query.port;
    ctx.body = { port: toldPort };
    return;
  }
  if (ctx.path === '/_token_requests') {
    ctx.body = { count: tokenRequests, refused: refusals };
    return;
  }
  if (ctx.path === '/_exchanges') {
    if ('seconds' in ctx.query) exchanges.seconds = Number(ctx.query.seconds);
    if ('refuse' in ctx.query) exchanges.refuse = ctx.query.refuse;
    ctx.body = exchanges;
    return;
  }
  if (ctx.path === '/_slow') {
    slowness = Number(ctx.query.ms);
    ctx.body = {};
    return;
  }
  if (ctx.path === '/token') {
    tokenRequests += 1;
    await new Promise((resolve) => setTimeout(resolve, slowness));
  }
  if (!ctx.path.startsWith('/interaction/')) {
    await next();
    return;
  }
  const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
  const user = ctx.query.user;
  if (prompt.name === 'login' && !user) {
    page(ctx, Object.keys(users).map((name) => `<a href="${ctx.path}?user=${name}">${name}</a>`).join(' '));
    return;
  }
  if (prompt.name === 'login') {
    if (!users[user]) throw new errors.AccessDenied('no such user');
    const ts = Math.floor(Date.now() / 1000) - Number(ctx.query.age ?? 0);
    const login = { accountId: user, acr: ctx.query.acr, ts };
    await provider.interactionFinished(ctx.req, ctx.res, { login }, { mergeWithLastSubmission: false });
    ctx.respond = false;
    return;
  }
  const grant = (grantId && (await provider.Grant.find(grantId)))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const consent = { grantId: await grant.save() };
  await provider.interactionFinished(ctx.req, ctx.res, { consent }, { mergeWithLastSubmission: true });
  ctx.respond = false;
});

server.on('request', provider.callback());
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
