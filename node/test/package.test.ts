/** What is published: `npm test` builds it before. */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

// From node/build/test/.
const DIST = new URL('../../dist/', import.meta.url);

const IMPORT =
  /^(?:import|export)\s(?:[^;]*?\sfrom\s)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm;

/** All modules that one reaches: files of ours, and bare names. */
function reached(entry: string): Set<string> {
  const seen = new Set<string>();
  const open = [new URL(entry, DIST).href];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (seen.has(at)) {
      continue;
    }
    seen.add(at);
    if (at.startsWith('file:')) {
      const source = readFileSync(new URL(at), 'utf8');
      for (const [, name, lazy = ''] of source.matchAll(IMPORT)) {
        const target = name ?? lazy;
        open.push(target.startsWith('.') ? new URL(target, at).href : target);
      }
    }
  }
  return seen;
}

test('the client for browsers needs nothing of Node.js', () => {
  const modules = reached('browser.js');
  const bare = [...modules].filter((name) => !name.startsWith('file:'));
  assert.deepEqual(bare, ['eventsource-parser']);
  assert(modules.has(new URL('http.js', DIST).href), 'the imports were not followed');
  for (const file of modules) {
    if (file.startsWith('file:')) {
      assert.doesNotMatch(readFileSync(new URL(file), 'utf8'), /\b(Buffer|require)\b/, file);
    }
  }
});

test('the package can be imported by its name', async () => {
  const sdk = await import('@machpay/sdk');
  const { version } = JSON.parse(readFileSync(new URL('../package.json', DIST), 'utf8'));
  assert.equal(sdk.VERSION, version);
  assert.equal(typeof sdk.MachPay, 'function');
});

test('nothing internal is in the types', () => {
  for (const name of readdirSync(DIST).filter((file) => file.endsWith('.d.ts'))) {
    const text = readFileSync(new URL(name, DIST), 'utf8');
    assert.doesNotMatch(text, /@internal/, name);
  }
});

/** What a user's compiler says to the published types, who checks libraries, too. */
function complaints(file: string, lib: string[], types: string[]): string[] {
  const program = ts.createProgram([fileURLToPath(new URL(file, DIST))], {
    strict: true,
    noEmit: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    lib: lib.map((name) => `lib.${name}.d.ts`),
    types,
  });
  // Of our own files alone: those of the language and of Node.js take seconds.
  const ours = program.getSourceFiles().filter(({ fileName }) => fileName.includes('/dist/'));
  assert(ours.length > 5, 'the types were not followed');
  return [
    ...program.getGlobalDiagnostics(),
    ...program.getOptionsDiagnostics(),
    ...ours.flatMap((source) => program.getSemanticDiagnostics(source)),
  ].map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '));
}

test('its types need Node.js alone, or a browser alone', () => {
  assert.deepEqual(complaints('index.d.ts', ['es2022'], ['node']), []);
  assert.deepEqual(complaints('browser.d.ts', ['es2022', 'dom'], []), []);
});
