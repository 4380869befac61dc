/** The skills that the server under test serves: twins of those in `tests/skill_server/skills.py`. */

import { setTimeout as sleep } from 'node:timers/promises';
import { Chunk, Skill, SkillError, type SkillInput, Usage } from '../../src/skill.js';

/** Skills that go on when they are told to, and count their runs. */
export class Gates {
  /** How many executions began. */
  runs = 0;
  /** How many handlers came to their end. */
  finished = 0;
  readonly skills: readonly Skill[];
  readonly #open = new Set<string>();

  constructor() {
    this.skills = [
      this.#echo(),
      this.#gated(),
      endless(),
      priced('priced', 3600),
      priced('brief', 0.5),
      failing(),
      large(),
      story(),
      this.#slow(),
      this.#strict(),
    ];
  }

  /** Those of a name. */
  named(ids: readonly string[]): Skill[] {
    return this.skills.filter(({ id }) => ids.includes(id));
  }

  open(gate: string): void {
    this.#open.add(gate);
  }

  #echo(): Skill {
    const skill = new Skill({
      id: 'echo',
      name: 'Echo',
      description: 'Says it again.',
      pricing: { baseUsd: 0.001, perTokenUsd: 0.00002 },
    });
    const gates = this;
    skill.streamHandler(function* (input: SkillInput) {
      gates.runs++;
      const { texts = [], data } = input.data;
      yield* texts;
      if (data !== undefined) {
        yield new Chunk('', { data });
      }
      yield new Usage({ tokens: 7 });
      gates.finished++;
    });
    return skill;
  }

  #strict(): Skill {
    const inputSchema = {
      type: 'object',
      properties: {
        prompt: { type: 'string' },
        words: { type: 'integer', minimum: 1 },
        tags: { type: 'array', items: { type: 'string' } },
      },
      required: ['prompt'],
    };
    const skill = new Skill({ id: 'strict', inputSchema });
    const gates = this;
    skill.streamHandler(function* (input: SkillInput) {
      gates.runs++;
      yield JSON.stringify(input.data);
    });
    return skill;
  }

  #gated(): Skill {
    const skill = new Skill({ id: 'gated' });
    const gates = this;
    skill.streamHandler(async function* (input: SkillInput) {
      gates.runs++;
      const { gate } = input.data;
      yield 'before ';
      while (!gates.#open.has(gate)) {
        await sleep(2, undefined, { signal: input.signal });
      }
      yield 'after';
      gates.finished++;
    });
    return skill;
  }

  #slow(): Skill {
    const skill = new Skill({ id: 'slow', timeout: 0.05 });
    skill.streamHandler(async (input: SkillInput) => {
      await sleep(3_600_000, undefined, { signal: input.signal });
      return 'never';
    });
    return skill;
  }
}

function endless(): Skill {
  const skill = new Skill({ id: 'endless' });
  skill.streamHandler(async function* (input: SkillInput) {
    const { times = 1 } = input.data;
    for (;;) {
      yield 'again '.repeat(times);
      await sleep(2);
    }
  });
  return skill;
}

function priced(id: string, timeout: number): Skill {
  const pricing = { baseUsd: 0.001, perTokenUsd: 0.00002 };
  const skill = new Skill({ id, timeout, pricing });
  skill.streamHandler(async function* (input: SkillInput) {
    const { text, tokens } = input.data;
    if (typeof text === 'string') {
      yield text;
    }
    if (tokens !== undefined) {
      yield new Usage({ tokens });
    }
    await sleep(3_600_000, undefined, { signal: input.signal });
  });
  return skill;
}

function failing(): Skill {
  const skill = new Skill({ id: 'failing' });
  skill.streamHandler(function* (input: SkillInput) {
    const { own } = input.data;
    yield 'part';
    if (own) {
      throw new SkillError('out_of_ink', 'No ink.', { retryable: true });
    }
    throw new RangeError('secret detail');
  });
  return skill;
}

function large(): Skill {
  const skill = new Skill({ id: 'large' });
  skill.streamHandler(function* (input: SkillInput) {
    const { chunks, size } = input.data;
    for (let count = 0; count < chunks; count++) {
      yield 'x'.repeat(size);
    }
  });
  return skill;
}

function story(): Skill {
  const skill = new Skill({ id: 'story' });
  skill.streamHandler(function* (input: SkillInput) {
    const { prompt } = input.data;
    if (prompt === 'fail') {
      yield 'so far';
      throw new Error('secret detail');
    }
    yield* ['Once ', 'upon\n\nevent: end\n', 'a \u2028time \u{1f600}'];
    // As Python's json.dumps writes a flat object.
    const members = Object.entries(input.data).map((pair) => pair.map((text) => `"${text}"`));
    yield `{${members.map((pair) => pair.join(': ')).join(', ')}}`;
  });
  return skill;
}
