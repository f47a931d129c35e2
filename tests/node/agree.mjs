// Plays a browser whose user signs in at the demo's provider as Ada and lets a client in: follows redirects with cookies, picks a
// user, presses "Allow". Gives the address that the client gets its answer at, unasked. `jars` are the cookies, kept for later.
import http from 'node:http';

export async function agree(start, redirectUrl, jars = new Map()) {
  const jar = (url) => { if (!jars.has(url.hostname)) jars.set(url.hostname, new Map()); return jars.get(url.hostname); };
  const ask = (url, method, body, from) => new Promise((resolve, reject) => {
    const cookies = [...jar(url)].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = {
      accept: 'text/html', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': from ? 'same-origin' : 'none',
      ...(cookies && { cookie: cookies }),
      ...(body && { 'content-type': 'application/x-www-form-urlencoded', 'content-length': Buffer.byteLength(body), origin: from }),
    };
    const request = http.request(url, { method, headers }, (answer) => {
      for (const line of answer.headers['set-cookie'] ?? []) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
        if (value && !/max-age=0/i.test(line)) jar(url).set(name, value); else jar(url).delete(name);
      }
      let text = '';
      answer.setEncoding('utf8').on('data', (part) => { text += part; }).on('end', () => resolve({ answer, text }));
    });
    request.on('error', reject).end(body);
  });
  const plain = (text) => text.replaceAll('&amp;', '&').replaceAll('&#38;', '&').replaceAll('&#x26;', '&');
  let [url, method, body, from] = [new URL(start), 'GET'];
  for (let step = 0; step < 30; step += 1) {
    const { answer, text } = await ask(url, method, body, from);
    [method, body, from] = ['GET'];
    if (answer.statusCode >= 300 && answer.statusCode < 400) {
      url = new URL(answer.headers.location, url);
      if (url.href.startsWith(redirectUrl)) return url;
      continue;
    }
    const action = /<form[^>]* action="([^"]*)"/.exec(text);
    if (!action) throw new Error(`${answer.statusCode} at ${url}: ${text}`);
    const consent = /name="consent" value="([^"]*)"/.exec(text);
    [method, from] = ['POST', url.origin];
    body = consent ? new URLSearchParams({ consent: consent[1], decision: 'allow' }).toString() : 'user=ada';
    url = new URL(plain(action[1]), url);
  }
  throw new Error('too many steps');
}
