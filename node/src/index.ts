/**
 * `@machpay/sdk`: run skills and stream their output, and serve skills of your own.
 *
 * In browsers there is the client only.
 */

export * from './browser.js';
export type { Decimal, Prices, Pricing } from './pricing.js';
export type { ServeOptions, SkillServer } from './serve/server.js';
export { serve } from './serve/server.js';
export type { Tokenizer } from './serve/tokens.js';
export type { ChunkOptions, Handler, Output, SkillInputDetails, SkillOptions } from './skill.js';
export { Chunk, chunk, Skill, SkillError, SkillInput, Usage } from './skill.js';
