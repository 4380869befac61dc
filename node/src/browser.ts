/**
 * The client part of `@machpay/sdk`, which runs in browsers too.
 *
 * Nothing that this reaches may import `node:` modules.
 */

export { Executions, MachPay, Skills, Tokens } from './client.js';
export type { MachPayOptions } from './config.js';
export {
  Cancelled,
  ExecutionNotFound,
  IdempotencyMismatch,
  InsufficientCredit,
  InvalidRequest,
  LogLost,
  MachPayError,
  OutputLimit,
  QueueTimeout,
  RateLimited,
  SkillFailed,
  SkillNotFound,
  StreamError,
  type StreamErrorDetails,
  StreamInterrupted,
  TimedOut,
  Unauthorized,
  Unavailable,
  WorkerLost,
} from './errors.js';
export type {
  ChunkEvent,
  EndEvent,
  ErrorEvent,
  StartEvent,
  StreamEvent,
  Summary,
} from './events.js';
export type {
  CallOptions,
  ReadOptions,
  ReadTokenOptions,
  StartOptions,
  StartTokenOptions,
  TokenOptions,
  UsageOptions,
} from './options.js';
export type {
  Execution,
  ExecutionError,
  ExecutionStatus,
  Result,
  SkillInfo,
  SkillPricing,
  Started,
  StreamToken,
  UsageGroup,
  UsageReport,
  UsageSum,
} from './results.js';
export { Stream, type StreamListeners } from './stream.js';
export { VERSION } from './version.js';
