// The app of docs/apps/node.md.
const http = require("node:http");

http
  .createServer((request, response) => {
    const identity = {};
    for (const [name, value] of Object.entries(request.headers)) {
      // As a gateway or a framework behind it could fold names.
      const folded = name.replace(/[_.]/g, "-");
      if (/^(x-user|remote-user|x-remote-user|x-forwarded-(user|email)|x-auth-request|x-webauth)/.test(folded)) {
        identity[name] = value;
      }
    }
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ user: request.headers["x-user"] ?? "", identity }));
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
