// The real AsyncAPI parser on many documents in one process.
// In: one JSON document a line on standard input. Out: for each line one JSON list of its errors (severity 0).
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { join } from "node:path";

const { Parser } = createRequire(join(process.cwd(), "package.json"))("@asyncapi/parser");
const parser = new Parser();
for await (const line of createInterface({ input: process.stdin })) {
  const { document, diagnostics } = await parser.parse(JSON.parse(line));
  const errors = diagnostics
    .filter((d) => d.severity === 0)
    .map((d) => ({ code: d.code, message: d.message, path: d.path.join(".") }));
  if (!document && errors.length === 0) errors.push({ code: "no-document", message: "the parser gave no document", path: "" });
  console.log(JSON.stringify(errors));
}
