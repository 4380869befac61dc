/** Compiled and never run: what users write type-checks, and what can't be right does not. */

import {
  type ChunkEvent,
  MachPay,
  SkillNotFound,
  StreamError,
  type StreamEvent,
} from '@machpay/sdk';

const client = new MachPay();

/** The guide's "Consuming Streams", as printed. */
export async function consuming(): Promise<void> {
  const stream = await client.skills.stream({
    skillId: 'chat-assistant',
    input: { prompt: 'Explain quantum computing in simple terms' },
  });

  for await (const chunk of stream) {
    process.stdout.write(chunk.text);
  }
}

/** The guide's "Stream Events", as printed. */
export async function listening(): Promise<void> {
  const stream = await client.skills.stream({ skillId: 's', input: {} });

  stream.on('start', (meta) => {
    console.log('Stream started:', meta.executionId);
  });

  stream.on('chunk', (chunk) => {
    console.log('Received:', chunk.text);
  });

  stream.on('end', (summary) => {
    console.log('Total tokens:', summary.tokensUsed);
    console.log('Total cost:', summary.costUsd);
  });

  stream.on('error', (error) => {
    console.error('Stream error:', error.message);
    const retryable: boolean = error.retryable;
    console.error(retryable);
  });

  // @ts-expect-error - There is no such event.
  stream.on('data', () => undefined);
  // @ts-expect-error - Chunks have no cost.
  stream.on('chunk', (chunk) => chunk.costUsd);
}

/** Events are told apart by their type. */
export function described(event: StreamEvent): string {
  switch (event.type) {
    case 'start':
      return event.executionId;
    case 'chunk':
      return event.text;
    case 'end':
      return event.costUsd.toFixed(9);
    case 'error':
      return event.code;
  }
}

/** Options whose values may not be there, and inputs of any object type. */
export async function calling(signal: AbortSignal | undefined, id: string): Promise<unknown> {
  interface Prompt {
    prompt: string;
  }
  const input: Prompt = { prompt: 'Hello' };
  await using stream = await client.skills.stream({ skillId: 's', input, signal });
  const { text, summary } = await stream.result();
  const resumed = await client.executions.stream(id, { cursor: stream.cursor, signal });
  const chunks: AsyncIterable<ChunkEvent> = resumed;
  const { total, groups } = await client.usage({ from: new Date(), groupBy: 'day' });
  const cost: number = summary.costUsd + total.costUsd + (groups[0]?.costUsd ?? 0);
  // @ts-expect-error - A skill needs an input.
  await client.skills.run({ skillId: 's' });
  // @ts-expect-error - Not a grouping.
  await client.usage({ groupBy: 'month' });
  return [text, chunks, cost];
}

/** A token is for one execution or for one skill. */
export async function lending(maxStarts: number | undefined): Promise<(string | null)[]> {
  const { streamToken, executionId } = await client.executions.create({ skillId: 's', input: {} });
  const { token } = await client.tokens.create({ executionId, expiresIn: 60 });
  const start = await client.tokens.create({ skillId: 's', maxStarts, timeout: 30 });
  // @ts-expect-error - For what?
  await client.tokens.create({ expiresIn: 60 });
  // @ts-expect-error - Not for both.
  await client.tokens.create({ executionId, skillId: 's' });
  // @ts-expect-error - One that reads starts nothing.
  await client.tokens.create({ executionId, maxStarts: 2 });
  return [streamToken, token, start.token];
}

/** Errors by their class. */
export async function catching(): Promise<number | null> {
  try {
    await client.skills.run({ skillId: 's', input: {} });
  } catch (error) {
    if (error instanceof SkillNotFound || error instanceof StreamError) {
      return error.status;
    }
    throw error;
  }
  return null;
}
