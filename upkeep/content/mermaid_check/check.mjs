// Asks Mermaid's own parser about diagrams: one JSON object a line in, one a line out, in the same order.
//
//   in   {"id": 1, "text": "flowchart TD\n  a --> b"}
//   out  {"id": 1, "ok": true, "type": "flowchart-v2"}
//        {"id": 2, "ok": false, "message": "…", "line": 3}
//   last {"done": 2, "mermaid": "11.17.2", "node": "20.20.2"}
//
// Whoever reads counts the answers and wants the last line: silence is no verdict.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import path from "node:path";

const folder = process.argv[2] ?? import.meta.dirname;
const require = createRequire(path.join(folder, "package.json"));

const { JSDOM } = require("jsdom");
const dom = new JSDOM("<!doctype html><html><body></body></html>");
// Mermaid reads the browser's globals while it is loaded.
globalThis.window = dom.window;
globalThis.document = dom.window.document;
for (const name of ["Element", "HTMLElement", "SVGElement", "Node", "DOMParser", "XMLSerializer"]) {
  globalThis[name] = dom.window[name];
}

const out = process.stdout;
// What a diagram makes Mermaid log must not mix with the answers.
for (const level of ["log", "info", "debug", "warn", "error"]) console[level] = () => {};

const manifest = require("mermaid/package.json");
const module = path.join(path.dirname(require.resolve("mermaid/package.json")), "dist", "mermaid.core.mjs");
const { default: mermaid } = await import(pathToFileURL(module).href);
mermaid.initialize({ startOnLoad: false, securityLevel: "strict" });

let done = 0;
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  if (!line) continue;
  const { id, text } = JSON.parse(line);
  out.write(JSON.stringify({ id, ...(await verdict(text)) }) + "\n");
  done += 1;
}
out.write(JSON.stringify({ done, mermaid: manifest.version, node: process.versions.node }) + "\n");

async function verdict(text) {
  try {
    const { diagramType } = await mermaid.parse(text);
    return { ok: true, type: diagramType };
  } catch (error) {
    const message = String(error?.message ?? error);
    // Jison counts lines of the preprocessed text from 0 or 1, depending on the token; the message's number is what it shows.
    const line = /(?:Parse|Lexical) error on line (\d+)/.exec(message)?.[1];
    return { ok: false, message, line: line === undefined ? null : Number(line) };
  }
}
