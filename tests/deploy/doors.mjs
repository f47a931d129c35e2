// Checks the manifests of a page in docs/doors/, on a machine without a cluster.
//
//   node tests/deploy/doors.mjs kubernetes-gateway < manifests.yaml
//
// Each against its kind's own types or schema, then against what the page promises. Prints one problem a line; exit 1
// when there is one.

import { readFileSync } from "node:fs";

import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute";
import { parseAllDocuments } from "yaml";

import { typeProblems } from "./types.mjs";

const problems = [];
const expect = (holds, problem) => holds || problems.push(problem);

const manifests = parseAllDocuments(readFileSync(0, "utf8"), { strict: true }).map((document) => {
  expect(document.errors.length === 0, `manifests: ${document.errors}`);
  return document.toJS();
});
const of = (kind, name) =>
  manifests.find((manifest) => manifest.kind === kind && (!name || manifest.metadata.name === name));
const isBuiltIn = ({ apiVersion }) => !apiVersion.startsWith("gateway.");
problems.push(...typeProblems(manifests.filter(isBuiltIn)));

const service = of("Service").spec;
const port = (number) => service.ports.find(({ port }) => port === number);
expect(port(4180), "service: does not lead to the gate");

const checks = {
  "ingress-nginx"() {
    const note = (name) => of("Ingress", "app").metadata.annotations[`nginx.ingress.kubernetes.io/${name}`];
    expect(note("auth-url").endsWith(":4180/oauth2/auth"), "app: asks elsewhere");
    expect(note("auth-signin").includes("/oauth2/sign_in?rd="), "app: leads nobody to the login");
    const headers = note("auth-response-headers").split(", ");
    const kinds = ["", "-Id", "-Email", "-Name", "-Groups", "-Provider", "-Assertion"];
    const names = kinds.flatMap((kind) => [`X-User${kind}`, `X-User${kind}-Missing`]);
    for (const name of [...names, "Cookie"]) {
      expect(headers.includes(name), `app: ${name} is what the client wrote`);
    }
    // By an empty value the controller sends no such header (its key proxy-set-headers).
    const removed = of("ConfigMap").data;
    const original = ["URL", "URI", "Method", "Host"].map((of) => `X-Original-${of}`);
    const forwarded = ["", "-Uri", "-Url", "-Path", "-Method"].map((of) => `X-Forwarded${of}`);
    const methods = ["X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override"];
    const others = ["X-Rewrite-URL", "X-Override-URL", "X-Envoy-Original-Path", "X-Host", "X-HTTP-Host-Override"];
    for (const name of [...original, ...forwarded, ...methods, ...others, "Forwarded", "Proxy"]) {
      expect(removed[name] === "", `app: ${name} may name what was not asked about`);
    }
    expect(note("proxy-buffering") === "off", "app: holds events back");
    expect(!of("Ingress", "sidegate").metadata.annotations, "sidegate: is asked about");
    const paths = of("Ingress", "sidegate").spec.rules.flatMap(({ http }) => http.paths);
    for (const { path, backend } of paths) {
      expect(!/^\/oauth2\/(auth|forward)?$/.test(path), `sidegate: ${path} is open from outside`);
      expect(backend.service.port.number === 4180, `sidegate: ${path} leads elsewhere`);
    }
    expect(paths.some(({ path }) => path === "/oauth2/callback"), "sidegate: no login comes to its end");
  },
  "kubernetes-gateway"() {
    for (const manifest of manifests.filter(({ kind }) => kind === "HTTPRoute")) {
      try {
        new HTTPRoute(manifest).validate();
      } catch (error) {
        problems.push(`HTTPRoute ${manifest.metadata.name}: ${error.message}`);
      }
    }
    expect(of("HTTPRoute", "app").spec.rules[0].timeouts.request === "0s", "app: ends streams");
    const [own] = of("HTTPRoute", "sidegate").spec.rules;
    expect(own.matches[0].path.value === "/oauth2", "sidegate: other paths than its own");
    expect(own.backendRefs[0].port === 4180, "sidegate: leads elsewhere");
    const policy = of("SecurityPolicy").spec;
    expect(policy.targetRefs.length === 1 && policy.targetRefs[0].name === "app", "policy: hangs elsewhere");
    expect(policy.extAuth.failOpen === false, "policy: a failure is a yes");
    expect(!("headersToExtAuth" in policy.extAuth), "policy: hides headers from the gate");
    const [backend] = policy.extAuth.grpc.backendRefs;
    expect(port(backend.port)?.appProtocol === "kubernetes.io/h2c", "service: no HTTP/2 for questions");
    const [rule] = of("NetworkPolicy").spec.ingress;
    expect(rule.from.length === 1, "network: others may connect");
    expect(String(rule.ports.map(({ port }) => port)) === "4180,4182", "network: other ports");
  },
};
checks[process.argv[2]]();

for (const problem of problems) console.error(problem);
process.exit(problems.length > 0 ? 1 : 0);
