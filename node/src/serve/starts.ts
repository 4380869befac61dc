/** A request to start an execution: its id, and a digest of what it asks for. */

import { createHash } from 'node:crypto';
import { derivedExecutionId, newExecutionId } from './ids.js';
import type { StartOptions } from './options.js';

/** A request to start an execution, already checked. */
export interface StartRequest {
  readonly skillId: string;
  /** The caller's input. */
  readonly input: Record<string, unknown>;
  readonly options: StartOptions;
  /** The execution that this request starts, or started before. */
  readonly executionId: string;
  /** A digest of what is asked for: a repeated key or id with another digest is a mistake. */
  readonly fingerprint: string;
}

/** How a client names its start, if it does. */
export interface Name {
  /** The same one again, with the same skill, input and options, is the same execution. */
  readonly key?: string | undefined;
  /** The execution's id: it is the start's name, too. */
  readonly chosenId?: string | undefined;
}

/**
 * Makes a request to start.
 *
 * @param skillId - The skill.
 * @param input - The caller's input.
 * @param options - What else it asks for. One that is left out and one that is set to its default
 *   ask for the same.
 * @param name - How the client names it.
 */
export function startRequest(
  skillId: string,
  input: Record<string, unknown>,
  options: StartOptions,
  { key, chosenId }: Name,
): StartRequest {
  const executionId = chosenId ?? (key === undefined ? newExecutionId() : derivedExecutionId(key));
  const { timeout = null, cancelAfter = null, maxCost } = options;
  const asked = [skillId, input, timeout, cancelAfter, maxCost?.toString() ?? null];
  const fingerprint = createHash('sha256').update(canonical(asked)).digest('hex');
  return { skillId, input, options, executionId, fingerprint };
}

/** Encodes JSON so that the order of an object's members makes no difference. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map(canonical).join(',')}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
    return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
