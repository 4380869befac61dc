/**
 * Skill servers for tests in Python: each line on stdin is a command, each line on stdout its answer.
 *
 * | command | answer |
 * | --- | --- |
 * | `{"do": "serve", "skills": [id, ...], "settings": {...}, "host"}` | `{"server", "port"}` |
 * | `{"do": "open", "server", "gate"}` | `{}` |
 * | `{"do": "look", "server"}` | `{"runs", "finished", "requests", "connections"}` |
 * | `{"do": "drain", "server"}` | `{}`, when the drain has begun |
 * | `{"do": "close", "server"}` | `{}`, when it is closed |
 */

import { createInterface } from 'node:readline';
import { SETTINGS, SkillServer } from '../../src/serve/server.js';
import { Gates } from './skills.js';

interface Command {
  readonly do: 'serve' | 'open' | 'look' | 'drain' | 'close';
  readonly server: number;
  readonly skills: readonly string[];
  readonly settings: Record<string, unknown>;
  readonly host: string;
  readonly gate: string;
}

interface Hosted {
  readonly server: SkillServer;
  readonly gates: Gates;
}

const hosted: Hosted[] = [];

async function obey(command: Command): Promise<Record<string, unknown>> {
  if (command.do === 'serve') {
    return serve(command);
  }
  const { server, gates } = hosted[command.server] as Hosted;
  if (command.do === 'open') {
    gates.open(command.gate);
  } else if (command.do === 'look') {
    return { runs: gates.runs, finished: gates.finished, ...server.load };
  } else if (command.do === 'drain') {
    void server.drain();
  } else {
    await server.close();
  }
  return {};
}

async function serve({ skills, settings, host }: Command): Promise<Record<string, unknown>> {
  const gates = new Gates();
  const server = new SkillServer(gates.named(skills), { ...SETTINGS, ...settings });
  await server.listen(0, host);
  hosted.push({ server, gates });
  return { server: hosted.length - 1, port: server.port };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await obey(JSON.parse(line)))}\n`);
}
process.exit(0);
