/** `@machpay/sdk`: run skills and stream their output. */

export * from './browser.js';
