// Checks manifests against the types of their kinds. The compiler refuses unknown and misspelled keys too, which
// Kubernetes' JSON schemas let pass.

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import ts from "typescript";

/** The problems of these manifests, a sentence each. */
export function typeProblems(manifests) {
  const source = manifests.map((manifest, index) => {
    const { apiVersion, kind } = manifest;
    // A group's folder has the first word of its name.
    const [group, version] = apiVersion.includes("/") ? apiVersion.split("/") : ["core", apiVersion];
    const path = `${group.split(".")[0]}/${version}`;
    return `import type { ${kind} as Kind${index} } from "kubernetes-types/${path}";
      export const document${index}: Kind${index} = ${JSON.stringify(manifest, null, 1)};`;
  });
  const name = join(dirname(fileURLToPath(import.meta.url)), "manifests.ts");
  const options = { strict: true, noEmit: true, skipLibCheck: true, lib: ["lib.es5.d.ts"], types: [] };
  const host = ts.createCompilerHost(options);
  const fromDisk = host.getSourceFile.bind(host);
  host.getSourceFile = (file, ...rest) =>
    file === name ? ts.createSourceFile(file, source.join("\n"), ...rest) : fromDisk(file, ...rest);
  const program = ts.createProgram([name], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file?.text.slice(start).split("\n", 1)[0].trim() ?? "";
    return `manifests: ${line} ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
  });
}
